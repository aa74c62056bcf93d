"""Finds what earlier searches know of a new search's space (see `search/known.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.errors import InputError
from results.rows import TrialRow
from results.store import Store
from search.experiment import Experiment
from search.known import Known
from search.sampler import DRAWN, Sampler, point_of
from trainer.dataset import Header
from trainer.resolve import resolve


def warm_started(
    store: Store, experiment: Experiment, searches: Sequence[str], header: Header, *, on_gpu: bool
) -> tuple[Experiment, int]:
    """The experiment with what these searches know, and how many of their finished trials do not fit its space.

    Raises:
        InputError: a comparison; an unknown search, one on other data, or one of which nothing fits.
    """
    if experiment.is_comparison:
        raise InputError(
            f"{experiment.name!r} is a comparison: it samples nothing, so --warm-start does not apply; use an experiment "
            "with a space."
        )
    cold = replace(experiment, known=())
    sampler = Sampler(cold, 1)
    known: list[Known] = []
    misfits = 0
    for name in dict.fromkeys(searches):
        settings = store.search(name).settings
        if settings.get("data_checksum") != header.checksum:
            raise InputError(
                f"{name} was not trained on {header.name} as it is here, so its results say nothing of the new search; "
                "start without it."
            )
        finished = [row for row in store.trials(name) if row.status in ("finished", "plateau")]
        fitting = [each for row in finished if (each := _known(row, cold, sampler, header, on_gpu)) is not None]
        if not fitting:
            raise InputError(
                f"None of the {len(finished)} finished trials of {name} is one that {experiment.name!r} might ask for "
                "(all keys but the seed count, the epochs too); start without it, or with its settings."
            )
        known += fitting
        misfits += len(finished) - len(fitting)
    return replace(experiment, known=tuple(known)), misfits


def _known(row: TrialRow, experiment: Experiment, sampler: Sampler, header: Header, on_gpu: bool) -> Known | None:
    values = [getattr(row, name) for name in experiment.objectives]
    drawn = row.provenance.get(DRAWN)
    found = sampler.place(drawn) if drawn is not None else None
    if found is None:  # of another space, or from before it was kept
        drawn, found = None, sampler.place(point_of(row.config, None))
    if found is None or None in values:
        return None
    try:
        config = resolve(found[1], on_gpu=on_gpu, header=header).to_flat()
    except InputError:  # the space asks for what cannot be trained: said of the new search elsewhere
        return None
    if {**config, "seed": row.seed} != row.config:
        return None
    return Known(trial=row.id, config=row.config, values=values, drawn=drawn)
