"""The protocol of a trial: what must agree before two accuracies may stand in one ranking."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.errors import InputError
from results.text import missing, short

PROTOCOL = ("data", "epochs", "batch_size", "augment")
"""Keys in which rows of one ranking must agree."""
CHECKSUM = "checksum of the data"
"""A column that this module adds to the trials: the same name may have come to mean other images."""
IMPORTED = "imported"
"""A column that this module adds to the trials: the format of the file that a trial came from; empty for our own."""
PARTS = (IMPORTED, *PROTOCOL, CHECKSUM)


def with_protocol(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with their data checksum, the format that they were imported from, and `protocol`, a tuple of `PARTS`.

    A trial that has not begun, and so recorded no checksum, goes with the others of its data set.
    """
    formats = trials["provenance"].map(lambda provenance: ((provenance or {}).get("imported") or {}).get("format", ""))
    trials = trials.assign(**{CHECKSUM: _checksums(trials), IMPORTED: formats.astype(str)})
    parts = [trials[part] if part in trials else pd.Series("", index=trials.index) for part in PARTS]
    texts = [part.map(lambda value: "" if missing(value) else short(value)) for part in parts]
    return trials.assign(protocol=pd.Series(zip(*texts, strict=True), index=trials.index, dtype=object))


def of_protocol(frame: pd.DataFrame, protocol: tuple[str, ...]) -> pd.DataFrame:
    """The rows of a frame that have this protocol."""
    return frame[[found == protocol for found in frame["protocol"]]]


def _checksums(trials: pd.DataFrame) -> pd.Series:
    found = trials["provenance"].map(lambda provenance: (provenance or {}).get("data_checksum"))
    data = trials["data"].astype(str) if "data" in trials else pd.Series("", index=trials.index)
    known = found.groupby(data).transform(lambda checksums: checksums.ffill().bfill())
    return known.fillna("").astype(str)


def differing(protocols: Sequence[tuple[str, ...]]) -> list[str]:
    """The parts in which these protocols are not one. What an imported file does not say differs from nothing."""
    told = {
        part: {protocol[place] for protocol in protocols if part == IMPORTED or not protocol[0]}
        for place, part in enumerate(PARTS)
    }
    return [part for part, values in told.items() if len(values) > 1]


def in_words(protocol: tuple[str, ...], parts: Sequence[str]) -> str:
    """Those parts of a protocol, such as `epochs=30, checksum of the data=1f3a9c02`."""
    values = dict(zip(PARTS, protocol, strict=True))
    return ", ".join(f"{part}={_shortened(part, values[part])}" for part in parts)


def require_one_protocol(trials: pd.DataFrame) -> None:
    """Searches that are put into one table have one protocol, or somebody has said that they may differ.

    Raises:
        InputError: they differ, with the parts and what each search has.
    """
    protocols = list(dict.fromkeys(trials["protocol"]))
    parts = differing(protocols)
    if not parts:
        return
    said = []
    for part in parts:
        place = PARTS.index(part)
        had: dict[str, list[str]] = {}
        for search, protocol in zip(trials["search_id"], trials["protocol"], strict=True):
            value = _shortened(part, protocol[place])
            if value not in had.setdefault(search, []):
                had[search].append(value)
        each = ", ".join(" and ".join(values) + f" in {search}" for search, values in had.items())
        said.append(f"{part} ({each})")
    raise InputError(
        f"Searches of one table must have one protocol, but these differ in {', '.join(said)}; name others, or say --mix "
        "to rank each protocol in a group of its own."
    )


def _shortened(part: str, value: str) -> str:
    if not value:
        return "no" if part == IMPORTED else "unknown"
    return value[:8] if part == CHECKSUM else value
