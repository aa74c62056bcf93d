"""What a row must carry so that one can say later why a replay differs: code, versions, machine, data."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from trainer.trial import Trial

PACKAGES = ("arbor-search", "torch", "deepspeed", "nvidia-dali-cuda130", "ray", "optuna", "numpy")
REPOSITORY = Path(__file__).resolve().parent.parent


def fingerprint(device: torch.device, threads: int) -> dict[str, Any]:
    """Code, library versions and machine of this process, as plain JSON values."""
    return {
        **code_fingerprint(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": cpu_name(),
        "hostname": platform.node(),
        "device": device.type,
        "threads": threads,
    }


def trial_fingerprint(trial: Trial) -> dict[str, Any]:
    """The provenance of a trial's row: the process that trains it, its data and its variant."""
    whole = fingerprint(trial.device, trial.threads)
    whole.pop("diff", None)  # kept once, with the search
    optimizer, workers = trial.optimizer, trial.world.size
    return {
        **whole,
        "folder": str(trial.folder.resolve()),
        "data_path": str(trial.dataset.path),
        "data_checksum": trial.dataset.checksum,
        "precision": trial.config.precision,
        **({"workers": workers} if workers > 1 else {}),
        "optimizer": f"{type(optimizer).__name__}(fused={optimizer.param_groups[0].get('fused')})",
        "variant_source": variant_source(type(trial.config.model.ffn)) if whole["dirty"] else None,
    }


@cache
def code_fingerprint(repository: Path = REPOSITORY) -> dict[str, Any]:
    """The git commit, whether the tree was dirty, and then the diff; without git, a hash over the sources.

    The diff (at most 200 kB) includes untracked Python files, so a variant that was never committed is kept too.
    """
    commit = _git(repository, "rev-parse", "HEAD") if _is_tracked(repository) else None
    if commit is None:
        return {"git_commit": None, "dirty": None, "source_hash": source_hash(repository)}
    status = _git(repository, "status", "--porcelain", "--", "*.py")
    result: dict[str, Any] = {
        "git_commit": commit.decode().strip(),
        "dirty": bool(status),
        "source_hash": source_hash(repository),
    }
    if status:
        tracked = _git(repository, "diff", "HEAD", "--", "*.py") or b""
        result["diff"] = (tracked.decode(errors="replace") + "".join(_untracked(repository)))[:200_000]
    return result


def source_hash(repository: Path = REPOSITORY) -> str:
    """sha256 over the Python files that decide what a trial computes (`arch_space/`, `trainer/`).

    Hidden ones, which nothing imports, are left out: an editor's lock is a link that leads nowhere.
    """
    digest = hashlib.sha256()
    for package in ("arch_space", "trainer"):
        for path in sorted((repository / package).rglob("*.py")):
            inside = path.relative_to(repository)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                digest.update(os.fsencode(inside) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def variant_source(config_class: type) -> str:
    """The file of a feed-forward kind, which is small and says exactly what was trained."""
    return Path(inspect.getfile(config_class)).read_text()


def differences(recorded: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """The entries of two fingerprints that can change a curve, each as "name: recorded -> present"."""
    names = ("source_hash", "git_commit", "gpu", "cpu", "device", "threads", "data_checksum", "precision")
    lines = [
        f"{name}: {recorded.get(name)} -> {present.get(name)}"
        for name in names
        if recorded.get(name) != present.get(name)
    ]
    before, now = recorded.get("workers", 1), present.get("workers", 1)
    lines += [f"workers: {before} -> {now} (sums in another order)"] if before != now else []
    old, new = recorded.get("versions") or {}, present.get("versions") or {}
    lines += [
        f"{name}: {old.get(name)} -> {new.get(name)}" for name in sorted(old | new) if old.get(name) != new.get(name)
    ]
    return lines


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_tracked(repository: Path) -> bool:
    """Whether git keeps this very file: installed inside of another project, git would speak of that one's code."""
    return _git(repository, "ls-files", "--error-unmatch", "--", "trainer/fingerprint.py") is not None


def _untracked(repository: Path) -> Iterator[str]:
    """Python files that git does not know, each below its name; without what cannot be read, such as a link to nothing."""
    names = _git(repository, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py") or b""
    for name in filter(None, names.split(b"\0")):
        path = repository / os.fsdecode(name)
        with suppress(OSError):
            if path.is_file():  # a pipe would be waited for
                yield f"+++ {name.decode(errors='replace')}\n{path.read_text(errors='replace')}"


def _git(repository: Path, *arguments: str) -> bytes | None:
    """What git prints: bytes, since names and sources may be in any encoding; none where it fails or is missing."""
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def cpu_name() -> str:
    """The processor in its own words, with the number of its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} x {os.cpu_count()}"
