"""One trial outside of a search: it writes its own rows, under the search `single`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console

from arch_space.cost import price
from results.cli import EXIT_INTERRUPTED
from results.errors import InputError
from results.ids import FolderClaim, make_run_folder, runs_folder
from results.rows import TrialRow
from results.store import ENDED, Store
from trainer import checkpoint
from trainer.config import TrialConfig, parse_pairs
from trainer.engine import device_of
from trainer.fingerprint import code_fingerprint, trial_fingerprint
from trainer.interrupt import ctrl_c_between_steps
from trainer.one_process import one_at_a_time, refuse_second_process, this_process
from trainer.report import Report
from trainer.resolve import absolute_paths, cached_dataset, discover_variants, resolve
from trainer.trial import Trial
from trainer.trial_progress import trial_progress

SINGLE = "single"
QUESTION = "Trials that were run one by one, without a search."


def train_single(pairs: list[str], *, reset: bool, threads: int | None, variants: tuple[str, ...], storage: str) -> int:
    """Train (or go on with) the trial that `pairs` stand for, and print each epoch; returns the exit code.

    Raises:
        InputError: bad keys or values, missing data, a store that cannot be opened, a trial that another process trains.
    """
    console = Console()
    variants = absolute_paths(variants)
    discover_variants(variants)
    cores = len(os.sched_getaffinity(0))
    if threads is not None and not 1 <= threads <= cores:
        raise InputError(f'"--threads" must be from 1 to the cores of this machine ({cores}), but got {threads}.')
    on_gpu = torch.cuda.is_available()
    config = resolve(parse_pairs(pairs), on_gpu=on_gpu)
    dataset = cached_dataset(config.data)  # damaged data are refused before there is a row
    with Store.open(storage) as store:
        with one_at_a_time(runs_folder(store.url)):
            row = _row_for(store, config, reset=reset, variants=variants, console=console)
            if row.status in ENDED:
                console.print(f"{row.id} has ended already ({_summary(row)}); --reset trains it anew.", highlight=False)
                return 0
            _refuse_changes(row, dataset.checksum)
            store.update_trial(row.id, provenance=this_process())
        with ctrl_c_between_steps() as heed_ctrl_c:
            return _train(store, row, config, device_of(on_gpu), threads or cores, console, heed_ctrl_c)


def _row_for(
    store: Store, config: TrialConfig, *, reset: bool, variants: tuple[str, ...], console: Console
) -> TrialRow:
    """The row of this very dictionary, the latest where there are several, or a new one.

    Raises:
        InputError: another process trains it.
    """
    searches = [row.id for row in store.searches() if row.experiment == SINGLE]
    search_id = searches[-1] if searches else store.create_search(
        SINGLE, QUESTION, {"variants": []}, {}, claim=FolderClaim(runs_folder(store.url))
    )  # fmt: skip
    store.update_search(search_id, status="ended")  # a place for trials; nothing drives it
    if variants:
        settings = store.search(search_id).settings
        known = settings.get("variants", [])
        settings["variants"] = [*known, *(path for path in variants if path not in known)]
        store.update_search(search_id, settings=settings)
    trials = store.trials(search_id)
    flat = config.to_flat()
    same = [row for row in trials if row.config == flat]
    for row in same:
        refuse_second_process(row)
    if same and not reset:
        return same[-1]
    number = len(trials) + 1
    folder = (runs_folder(store.url) / search_id / f"{number:03d}-{flat['ffn']}").resolve()
    make_run_folder(folder)
    for row in same:
        if row.status not in ENDED:  # given up for the new one
            store.update_trial(row.id, status="stopped", cause="reset by the user", ended=datetime.now(UTC))
            checkpoint.remove_resume_files(Path(row.provenance["folder"]))
    costs = price(config.model)
    trial_id = store.add_trial(
        search_id,
        number,
        flat,
        **asdict(costs),
        provenance={"folder": str(folder)},
    )
    console.print(f"Trial {trial_id}: {costs.parameters:,} parameters, in {folder}", highlight=False, soft_wrap=True)
    return store.trial(trial_id)


def _refuse_changes(row: TrialRow, checksum: str) -> None:
    """Raises InputError where data or code are not those of the trial's first epochs: its row says one of each."""
    present = {"data_checksum": checksum, "source_hash": code_fingerprint()["source_hash"]}
    for key, what in (("data_checksum", "The data"), ("source_hash", "The code in arch_space/ or trainer/")):
        began = row.provenance.get(key)
        if began is not None and began != present[key]:
            raise InputError(
                f"{what} changed since {row.id} began ({began[:16]} -> {present[key][:16]}); put back what was there, or "
                "train it anew with --reset."
            )


def _train(
    store: Store,
    row: TrialRow,
    config: TrialConfig,
    device: torch.device,
    threads: int,
    console: Console,
    heed_ctrl_c: Callable[[], None],
) -> int:
    folder = Path(row.provenance["folder"])
    done = store.last_epoch(row.id)
    started = row.started or datetime.now(UTC)
    if done:
        console.print(f"Going on with {row.id} after epoch {done}.", highlight=False)
    progress = trial_progress(console)
    task = progress.add_task(row.id, total=None)

    def on_batch(images: int) -> None:
        progress.advance(task, images)
        heed_ctrl_c()

    trial = Trial(
        config,
        folder,
        device=device,
        threads=threads,
        reported=done,
        on_batch=on_batch,
    )
    # not before: a damaged checkpoint is refused, and the row stays as it was
    store.update_trial(row.id, status="running", started=started, provenance=trial_fingerprint(trial))
    images = trial.steps_an_epoch * config.batch_size
    progress.update(task, total=images * config.epochs, completed=images * trial.epoch)
    try:
        with progress:
            for report in trial.reports():
                store.commit_report(
                    row.id, report.row, None, **report.columns(gpus=1.0 if device.type == "cuda" else 0.0)
                )
                progress.console.print(epoch_line(report, config.epochs), highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        store.update_trial(row.id, status="interrupted")
        console.print(f"Interrupted after epoch {store.last_epoch(row.id)}; the same command goes on.")
        return EXIT_INTERRUPTED
    finally:
        trial.close()
    checkpoint.remove_resume_files(folder)
    console.print(f"{row.id}: {_summary(store.trial(row.id))}", highlight=False, soft_wrap=True)
    return 0


def epoch_line(report: Report, epochs: int) -> str:
    """One epoch in one line."""
    row = report.row
    loss = "not finite" if row.train_loss is None or row.train_loss != row.train_loss else f"{row.train_loss:.4f}"
    val = f"{100 * row.val_acc:6.2f} %" if row.val_acc is not None else "-"
    return (
        f"epoch {row.epoch:3d}/{epochs}  train loss {loss}  val loss {row.val_loss:.4f}  val accuracy {val}  "
        f"lr {row.lr:.2e}  {row.images_per_second:,.0f} images/s"
    )


def _summary(row: TrialRow) -> str:
    parts = [row.status]
    if row.val_acc is not None:
        parts.append(f"validation accuracy {100 * row.val_acc:.2f} % after {row.epochs} epochs")
    if row.test_acc is not None:
        parts.append(f"test accuracy {100 * row.test_acc:.2f} %")
    if row.cause:
        parts.append(row.cause)
    return ", ".join(parts)
