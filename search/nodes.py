"""A running Ray cluster, joined: what its nodes have and lack is asked before a search is made, in one task a node."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results.errors import InputError
from search.cluster import Cluster, Node
from search.shipping import CODE, stage_code

LIMIT_SECONDS = 90.0
"""So long a node may take to start a worker and answer; a cold Python on a slow disk needs half a minute."""
NEEDED = ("torch", "deepspeed", "nvidia.dali", "optuna", "ray.tune", "sqlalchemy", "safetensors")
"""What must be installed on a node, by the names under which it is imported."""
_WORKERS_SEE = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def join(cluster: Cluster, *, code: Path | None = None) -> Any:
    """Make this process a driver of the cluster; what `ray.init` returns. `ray.shutdown` leaves it, and leaves it running.

    Args:
        code: a folder with the packages of a worker, for nodes that lack them.
    """
    import ray

    environment: dict[str, Any] = {"env_vars": _WORKERS_SEE}
    if code is not None:
        environment["working_dir"] = str(code)
    return ray.init(
        address=cluster.address,
        _node_ip_address=cluster.here.address,
        namespace=f"arbor-{secrets.token_hex(4)}",
        runtime_env=environment,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


@contextmanager
def staged_code(wanted: bool) -> Iterator[Path | None]:
    """A copy of the packages for Ray to send while the context lasts; none where it is not wanted."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="arbor-code-") as folder:
        yield stage_code(Path(folder))


def lacks_code(cluster: Cluster, folders: Collection[Path]) -> bool:
    """Whether a node has other code than this process, or none, so that it must be sent.

    Joins the cluster and leaves it again.

    Args:
        folders: of trials; every node must see them under the same path, for a trial whose node is lost goes on elsewhere
            from there, and the files of a finished one are read here.
    Raises:
        InputError: a node does not answer, lacks the environment, or does not share a folder.
    """
    import ray

    marks = {folder: folder / f".shared-{secrets.token_hex(8)}" for folder in folders}
    try:
        for mark in marks.values():
            mark.write_text(mark.name)
        join(cluster)
        try:
            answers = _ask(cluster, _look(CODE, NEEDED, [str(mark) for mark in marks.values()]))
        finally:
            ray.shutdown()
        for node in cluster.workers:
            _require_usable(node, answers[node.id], marks)
    finally:
        for mark in marks.values():
            for path in mark.parent.glob(f"{mark.name}*"):
                path.unlink(missing_ok=True)
    ours = _look(CODE, (), [])("")["code"]
    return any(answer["code"] != ours for answer in answers.values())


def _require_usable(node: Node, answer: dict[str, Any], marks: dict[Path, Path]) -> None:
    """Raises InputError where trials could not train on a node."""
    where = f"the node {node.address} ({node.name})"
    if answer["missing"]:
        raise InputError(
            f"Every node must have Arbor's environment, but {where} cannot import {', '.join(answer['missing'])}; "
            "install it there with the same constraints.txt, and start Ray from it."
        )
    for folder, mark in marks.items():
        if str(mark) not in answer["seen"] or not mark.with_name(f"{mark.name}.{node.id}").is_file():
            raise InputError(
                f"The trials' folder must be one that every node can read and write, but {where} does not share {folder}; "
                "name a shared one in --checkpoints."
            )


def _ask(cluster: Cluster, look: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The answers by node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        node.id: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(node.id)
        for node in cluster.workers
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=LIMIT_SECONDS)
    answers = {}
    for node in cluster.workers:
        try:
            answers[node.id] = ray.get(asked[node.id], timeout=1)
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
            raise InputError(
                f"The node {node.address} ({node.name}) does not run a task ({reason}); see `ray status` and its logs, or "
                "take it out of the cluster."
            ) from None
    return answers


def _look(packages: tuple[str, ...], needed: tuple[str, ...], marks: list[str]) -> Callable[[str], dict[str, Any]]:
    """What runs on a node. A function inside a function: such a one travels by its own code, not by the name of our module,
    which the node may not have."""

    def look(node_id: str) -> dict[str, Any]:
        import hashlib
        import importlib.util
        import pathlib

        def found(name: str) -> bool:
            try:
                return importlib.util.find_spec(name) is not None
            except (ImportError, ValueError):
                return False

        digest, complete = hashlib.sha256(), True
        for package in packages:
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                complete = False
                continue
            root = pathlib.Path(spec.origin).parent
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(root)}".encode() + b"\0" + path.read_bytes())
        seen = []
        for mark in map(pathlib.Path, marks):
            try:
                if mark.read_text() == mark.name:
                    mark.with_name(f"{mark.name}.{node_id}").touch()
                    seen.append(str(mark))
            except OSError:
                continue
        return {
            "code": digest.hexdigest() if complete else None,
            "missing": [name for name in needed if not found(name)],
            "seen": seen,
        }

    return look
