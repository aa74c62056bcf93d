"""Run folders that were moved or copied along with their SQLite database: found beside it, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def with_folder_here(provenance: Mapping[str, Any], runs: Path) -> dict[str, Any]:
    """The provenance of a trial, its `folder` under `runs` where the recorded one is gone and one of its name is there."""
    folder = provenance.get("folder")
    if not isinstance(folder, str) or not folder or folder.startswith(f"{runs}/") or Path(folder).is_dir():
        return dict(provenance)
    recorded = Path(folder)
    for here in (runs / recorded.parent.name / recorded.name, runs / recorded.name):  # of a search, of a single trial
        if here.is_dir():
            return {**provenance, "folder": str(here)}
    return dict(provenance)
