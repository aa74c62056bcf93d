"""`python -m search.importance SEARCH`: how much each searched key explains of the spread in validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import optuna
import pandas as pd
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.plots.importance import importance_bars
from results.plots.style import page
from results.store import Store
from results.targets import writing
from results.tuned import passed_over, that_count
from search.export_study import frozen_trials

optuna.logging.set_verbosity(optuna.logging.WARNING)

ALL_KINDS = "all kinds"
LEAST = 4
"""Trials below which nothing is computed."""
ENOUGH_A_KEY, ENOUGH = 10, 30
"""Finished trials a key, and in all, below which the shares are said to be uncertain: a rule of thumb."""

EXAMPLES = """\
How much each searched key explains of the spread in validation accuracy over the trials that ran to their end, by PED-ANOVA
(Watanabe and others 2023, arXiv 2304.10255: which keys set the best tenth apart) and fANOVA (Hutter, Hoos and Leyton-Brown
2014: the variance of a forest). Keys that one kind has alone are judged among its trials.

Examples:

  python -m search.importance quickstart-1

  python -m search.importance fff_vs_dense-2 -o importance.png
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str, typer.Argument(help="A search's id, such as quickstart-1.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw a picture into this file, too.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    """Print the shares; draw them where a file is named."""
    with Store.open(storage, create=False, to_read=True) as store:
        row = store.search(search)
        every = store.trials(search)
    trials = that_count(every)
    tuning = len(every) - len(trials)
    if output is not None:
        _require_picture(output)
    kinds = {trial.id: str(trial.config.get("ffn", "")) for trial in trials}
    frozen = frozen_trials(trials, {})
    shares = importances(search, frozen, kinds, tuning=tuning)
    console = Console()
    for scope, part in shares.groupby("scope", sort=False):
        _print(part, str(scope), console)
    note = _note(shares, len(_complete(frozen)), len(trials), tuning)
    console.print(Text(note), soft_wrap=True)
    if output is not None:
        with writing(output):
            _draw(shares, f"{search}: {row.question}", note, output)
        console.print(Text(f"Picture: {output}"), soft_wrap=True)


def importances(search: str, trials: Sequence[FrozenTrial], kinds: dict[str, str], *, tuning: int = 0) -> pd.DataFrame:
    """A row a key: `scope` (all kinds, or the kind whose own keys are judged), `key`, `trials`, `ped_anova`, `fanova`.

    Args:
        trials: as `frozen_trials` gives them; those that were stopped, failed, diverged or imported do not count.
        kinds: the feed-forward kind of each, by its id.
        tuning: how many others tuned a learning rate, which a refusal names.
    Raises:
        InputError: too few that ran to their end, none of whose keys differ, or all with one accuracy.
    """
    complete = _complete(trials)
    by_kind: dict[str, list[FrozenTrial]] = {}
    for trial in complete:
        by_kind.setdefault(kinds[trial.user_attrs["trial"]], []).append(trial)
    scopes = {ALL_KINDS: complete} if len(by_kind) > 1 else {}
    parts = [_shares(scope, members) for scope, members in {**scopes, **by_kind}.items()]
    found = [part for part in parts if len(part)]
    if not found:
        raise InputError(_lack(search, complete, by_kind, f" ({passed_over(tuning)})" if tuning else ""))
    return pd.concat(found, ignore_index=True)


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that ran to their end; not imported ones, whose accuracy was chosen on the test images."""
    return [trial for trial in trials if trial.state is TrialState.COMPLETE and "imported" not in trial.user_attrs]


def _lack(search: str, complete: Sequence[FrozenTrial], by_kind: Mapping[str, Sequence[object]], also: str) -> str:
    """What is missing for any shares, and how to come by it."""
    more = "run a search with more trials, or with --scheduler none, which stops none"
    if len(complete) < LEAST:
        return f"Importances need {LEAST} trials that ran to their end, but {search} has {len(complete)}{also}; {more}."
    these = f"the {len(complete)} trials of {search} that ran to their end"
    if len({trial.value for trial in complete}) < 2:
        return f"Importances need two accuracies that differ, but {these} have one{also}; train for more epochs."
    keys = _varied(complete)
    few = len(by_kind) > 1 and min(len(members) for members in by_kind.values()) < LEAST
    own = f", or so many trials that each kind has {LEAST} that run to their end (--scheduler none stops none)"
    differs = f"only {keys[0]!r} does" if keys else "none does"
    return (
        f"Importances need two keys that differ, but of those that {these} share {differs}{also}; sample more "
        f"keys{own if few else ''}."
    )


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """The keys that all of these trials have and that differ among them."""
    shared = set.intersection(*(set(trial.params) for trial in trials)) if trials else set()
    keys = [key for key in (trials[0].params if trials else {}) if key in shared]
    return [key for key in keys if len({repr(trial.params[key]) for trial in trials}) > 1]


def _shares(scope: str, trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """The shares of the keys in which these trials differ; no row where that says nothing.

    A lone key would have the whole, whatever it does.
    """
    keys = _varied(trials)
    if len(trials) < LEAST or len(keys) < 2 or len({trial.value for trial in trials}) < 2:
        return pd.DataFrame()
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    by_best = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=keys)
    by_spread = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=keys)
    return pd.DataFrame(
        {
            "scope": scope,
            "key": keys,
            "trials": len(trials),
            "ped_anova": [float(by_best.get(key, math.nan)) for key in keys],
            "fanova": [float(by_spread.get(key, math.nan)) for key in keys],
        }
    )


def _note(shares: pd.DataFrame, complete: int, started: int, tuning: int) -> str:
    """How many trials stand behind the shares, how many are no trials of the search, and which scopes have too few."""
    few = [
        f"{scope} ({int(part['trials'].iloc[0])} trials, {len(part)} keys)"
        for scope, part in shares.groupby("scope", sort=False)
        if part["trials"].iloc[0] < max(ENOUGH, ENOUGH_A_KEY * len(part))
    ]
    ended = (
        f"All {started} trials ran to their end"
        if complete == started
        else f"{complete} of {started} trials ran to their end; the others do not count"
    )
    said = (
        f"{ended}{f'; {passed_over(tuning)}' if tuning else ''}. "
        "Shares add up to 1 even where seeds alone make the difference: see the table's intervals first."
    )
    if few:
        said += f" Too few for shares that hold ({ENOUGH}, and {ENOUGH_A_KEY} a key, are a rule of thumb): {', '.join(few)}."
    return said


def _print(part: pd.DataFrame, scope: str, console: Console) -> None:
    title = f"{scope}: {int(part['trials'].iloc[0])} trials"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("key", "PED-ANOVA", "fANOVA"):
        table.add_column(name, justify="left" if name == "key" else "right")
    for row in part.sort_values("ped_anova", ascending=False).to_dict("records"):
        table.add_row(Text(row["key"]), f"{row['ped_anova']:.2f}", f"{row['fanova']:.2f}")
    console.print(table)
    console.print()


def _draw(shares: pd.DataFrame, title: str, note: str, path: Path) -> None:
    groups = list(shares.groupby("scope", sort=False))
    tallest = max(len(part) for _, part in groups)
    figure = page(title, width=max(6.5, 4.4 * len(groups)), height=2.0 + 0.42 * tallest, note=note)
    panels = figure.subplots(1, len(groups), squeeze=False).flat
    for ax, (scope, part) in zip(panels, groups, strict=True):
        importance_bars(part, ax)
        ax.set_title(f"{scope}, {int(part['trials'].iloc[0])} trials", fontsize=9)
        ax.set_xlabel("share", fontsize=9)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="lower right")  # where the least important key is
    figure.savefig(path)


def _require_picture(path: Path) -> None:
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    if path.is_dir() or path.suffix[1:].lower() not in kinds:
        raise InputError(
            f"The picture must be a file that ends in .png (or {', '.join(sorted(kinds))}), but got {path}."
        )


if __name__ == "__main__":
    run(app, "python -m search.importance")
