"""Whether a search's tables are a history that its scheduler, and a driver that loses nothing, could have written.

What is proved, from the tables alone: no epoch is lost or doubled; every decision that was due was taken, none other, and
each is what the rule says given the order of the reports (`results.decided`); statuses, epochs and decisions agree; all
trials had the search's data. What cannot be proved: that a number from which nothing was derived (a loss in mid-curve,
say) is the one that was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from results.decided import Rule
from results.errors import InputError
from results.ids import variant_hash
from results.rows import DecisionRow, EpochRow, RequestRow, SearchRow, TrialRow
from results.store import ENDED, STOPPED_AS_ASKED, Store

BY_ITSELF = frozenset({"finished", "plateau", "diverged"})
"""Ends that a trial reports itself; the scheduler is not asked then."""
RECORDED = "data_checksum"
"""The key in a search's settings, in a trial's provenance, and before a change of it that a resume recorded."""
_DERIVED = ("train_loss", "val_loss", "val_acc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One rule, over how many rows it was checked, and each violation in a sentence."""

    rule: str
    rows: int
    violations: list[str]


@dataclass(frozen=True, slots=True)
class _History:
    search: SearchRow
    trials: list[TrialRow]
    epochs: dict[str, list[EpochRow]]
    decisions: list[DecisionRow]
    requests: list[RequestRow]
    by_id: dict[str, TrialRow] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {trial.id: trial for trial in self.trials})


def audit(store: Store, search_id: str) -> list[Check]:
    """All checks of one search.

    Raises:
        InputError: an unknown search; one that no scheduler has driven, or a scheduler that this version does not know.
    """
    search = store.search(search_id)
    if "source" not in search.settings:
        raise InputError(f"{search_id} was not made by search.run, so it has no history of decisions to audit.")
    if not Rule(search.settings).known:
        raise InputError(
            f"{search_id} ran under {search.settings['scheduler']!r}, a scheduler unknown to this version."
        )
    trials = store.trials(search_id)
    history = _History(search, trials, {row.id: store.epochs(row.id) for row in trials}, store.decisions(search_id),
                       store.requests(search_id))  # fmt: skip
    recorded = sum(len(rows) for rows in history.epochs.values())
    checks: list[tuple[str, int, Callable[[_History], Iterator[str]]]] = [
        ("trials are numbered 1 to n, and each row agrees with its own dictionary", len(trials), _numbers),
        ("every trial has the epochs 1 to n, none lost and none doubled", recorded, _epochs),
        ("each trial's last and best values are those of its epochs", len(trials), _metrics),
        ("each trial's status agrees with its epochs and decisions", len(trials), _statuses),
        ("the search's status agrees with its trials", 1, _search),
        ("every decision that was due was taken, and no other", len(history.decisions), _taken),
        (f"every decision follows from the rule ({_rule_text(search)})", len(history.decisions), _decided),
        ("every trial was trained on the search's data", len(trials), _data),
    ]
    return [Check(rule=rule, rows=rows, violations=list(check(history))) for rule, rows, check in checks]


def _rule_text(search: SearchRow) -> str:
    settings = search.settings
    name = settings["scheduler"]
    if name == "none":
        return "none stopped"
    reduction = "" if name == "median" else f"reduction {settings['reduction']}, "
    race = "one race for all" if settings["pooled_rungs"] else "a race for each kind"
    return f"{name}, grace {settings['grace']}, {reduction}horizon {settings['epochs']}, {race}"


def _numbers(history: _History) -> Iterator[str]:
    for place, trial in enumerate(history.trials, start=1):
        if trial.number != place:
            yield f"{trial.id} stands at place {place}"
        if trial.id != f"{history.search.id}.{trial.number}":
            yield f"{trial.id} has the number {trial.number}"
        if trial.variant != variant_hash(trial.config):
            yield f"{trial.id} has the variant {trial.variant}, but its dictionary is {variant_hash(trial.config)}"
        if trial.seed != trial.config.get("seed"):
            yield f"{trial.id} has the seed {trial.seed}, but its dictionary says {trial.config.get('seed')}"
    if history.search.settings["grid"] is not None:
        pairs = Counter((trial.variant, trial.seed) for trial in history.trials)
        yield from (f"variant {variant} has {n} trials with the seed {seed}" for (variant, seed), n in pairs.items()
                    if n > 1)  # fmt: skip


def _epochs(history: _History) -> Iterator[str]:
    for trial in history.trials:
        found = [row.epoch for row in history.epochs[trial.id]]
        if found != list(range(1, trial.epochs + 1)):
            missing = sorted(set(range(1, trial.epochs + 1)) - set(found))
            odd = sorted(set(found) - set(range(1, trial.epochs + 1)))
            yield f"{trial.id} should have {trial.epochs} epochs: {_listed('missing', missing)}{_listed('too many', odd)}"


def _listed(word: str, epochs: Sequence[int]) -> str:
    return f"{word} {', '.join(map(str, epochs))} " if epochs else ""


def _metrics(history: _History) -> Iterator[str]:
    for trial in history.trials:
        rows = history.epochs[trial.id]
        last = {name: getattr(rows[-1], name) if rows else None for name in _DERIVED}
        for name, value in last.items():
            if getattr(trial, name) != value:
                yield f"{trial.id} has {name} {getattr(trial, name)}, but its last epoch has {value}"
        best = max((row for row in rows if row.val_acc is not None), key=lambda row: row.val_acc or 0, default=None)
        derived = (best.val_acc, best.epoch) if best is not None else (None, None)
        if (trial.best_val_acc, trial.best_epoch) != derived:
            yield f"{trial.id} has the best {trial.best_val_acc} at epoch {trial.best_epoch}, but its epochs say {derived}"


def _statuses(history: _History) -> Iterator[str]:
    last = {decision.trial_id: decision for decision in history.decisions}
    asked = {(request.trial_id, request.request) for request in history.requests}
    for trial in history.trials:
        horizon, rows = trial.config["epochs"], history.epochs[trial.id]
        broken = bool(rows) and (rows[-1].train_loss is None or rows[-1].val_loss is None)
        stopped = trial.id in last and last[trial.id].decision == "stop"
        by_person = trial.status == "stopped" and trial.cause == STOPPED_AS_ASKED
        by_rule = trial.status == "stopped" and not by_person
        for wrong, what in (
            (trial.status == "finished" and trial.epochs != horizon, f"at epoch {trial.epochs} of {horizon}"),
            (trial.status not in ("finished", "diverged") and trial.epochs >= horizon, "with all its epochs"),
            (trial.status == "plateau" and trial.config.get("patience") is None, "without patience"),
            ((trial.status == "plateau" or by_rule) and not rows, "without an epoch"),
            (by_person and not {(None, "stop"), (trial.id, "stop")} & asked, "as asked, but nobody asked"),
            (trial.status == "pending" and bool(rows), "with epochs"),
            (
                (trial.status == "diverged") != broken,
                "and its last losses are " + ("not numbers" if broken else "numbers"),
            ),
            (by_rule != stopped, "and its last decision is " + ("stop" if stopped else "not stop")),
            (trial.status == "stopped" and stopped and last[trial.id].epoch != trial.epochs, "not at its last epoch"),
            (trial.status == "failed" and not trial.cause, "without a cause"),
            (
                (trial.status in ENDED) != (trial.ended is not None),
                "and has " + ("an" if trial.ended else "no") + " end",
            ),
        ):
            if wrong:
                yield f"{trial.id} is {trial.status} {what}"


def _search(history: _History) -> Iterator[str]:
    search, settings = history.search, history.search.settings
    states = Counter(trial.status for trial in history.trials)
    if search.status in ("ended", "stopped") and any(status not in ENDED for status in states):
        yield f"{search.id} is {search.status}, but has trials that are {', '.join(sorted(set(states) - ENDED))}"
    if search.status in ("interrupted", "paused") and states["running"]:
        yield f"{search.id} is {search.status}, but has trials that are running"
    planned = settings["trials"]
    if settings["grid"] is not None:
        planned = len(settings["grid"]) * (len(settings["seeds"]) + len(settings.get("tune_lr") or ()))
    if len(history.trials) > planned:
        yield f"{search.id} has {len(history.trials)} trials, but {planned} were planned"
    if search.status == "ended" and settings["grid"] is not None and len(history.trials) < planned:
        yield f"{search.id} is ended with {len(history.trials)} of {planned} trials"


def _taken(history: _History) -> Iterator[str]:
    rule = Rule(history.search.settings)
    taken: dict[str, list[int]] = {trial.id: [] for trial in history.trials}
    for decision in history.decisions:
        place = f"{decision.trial_id}, epoch {decision.epoch}"
        if decision.scheduler != rule.name:
            yield f"{place}: decided by {decision.scheduler}, not by {rule.name}"
        if decision.rung != decision.epoch:
            yield f"{place}: decided for the rung {decision.rung}"
        if taken[decision.trial_id] and decision.epoch <= taken[decision.trial_id][-1]:
            yield f"{place}: decided after epoch {taken[decision.trial_id][-1]}"
        taken[decision.trial_id].append(decision.epoch)
    for trial in history.trials:
        asked = trial.epochs - (trial.status in BY_ITSELF)
        due = {epoch for epoch in range(1, asked + 1) if rule.judged(trial.number, epoch)}
        yield from (f"{trial.id}, epoch {epoch}: no decision" for epoch in sorted(due - set(taken[trial.id])))
        yield from (f"{trial.id}, epoch {epoch}: not due" for epoch in sorted(set(taken[trial.id]) - due))


def _decided(history: _History) -> Iterator[str]:
    rule = Rule(history.search.settings)
    for decision in history.decisions:
        trial = history.by_id[decision.trial_id]
        curve = [row.val_acc for row in history.epochs[trial.id] if row.epoch <= decision.epoch]
        place = f"{trial.id}, epoch {decision.epoch}"
        if not rule.judged(trial.number, decision.epoch) or len(curve) < decision.epoch:
            continue  # said by another check
        due = rule.due(trial.number, str(trial.config["ffn"]), decision.epoch, curve)
        for name, recorded, right in (
            ("value", decision.value, due.value),
            ("cut-off", decision.cutoff, due.cutoff),
            ("decision", decision.decision, "stop" if due.stop else "continue"),
        ):
            if recorded != right:
                yield f"{place}: the {name} is {recorded}, but should be {right}"


def _data(history: _History) -> Iterator[str]:
    """A trial that has not begun says nothing of its data."""
    known = _checksums(history.search)
    for trial in history.trials:
        found = trial.provenance.get(RECORDED)
        if known and found is not None and found not in known:
            own = " or ".join(each[:12] for each in known)
            yield f"{trial.id} was trained on data with the checksum {found[:12]}, but its search's have {own}"


def _checksums(search: SearchRow) -> list[str]:
    """Of the data that a search has now, and of those that it had before a change that somebody accepted."""
    lines = [line for change in search.provenance.get("changes", []) for line in change["changed"]]
    named = [line.removeprefix(f"{RECORDED}: ") for line in lines if line.startswith(f"{RECORDED}: ")]
    all_of_them = [*(line.partition(" -> ")[0] for line in named), search.settings.get(RECORDED)]
    return list(dict.fromkeys(each for each in all_of_them if each is not None))
