"""One trial, from its flat dictionary to its tested checkpoint, one epoch at a time.

    trial = Trial(config, folder, device=device, threads=1)
    for report in trial.reports():
        ...            # commit it; leave the loop to stop early
    trial.close()

The same code runs under Tune, in `trainer.run`, in `trainer.replay` and in tests; it knows none of them.

What a kill may cost: nothing that was reported. `last.pt` is written beside the training and holds the reports of all its
epochs. A trial that comes back hands out again what its receiver may have missed (from epoch `reported + 1`), trains
silently again what its receiver has but the file has not, and goes on, bit for bit on a CPU.

Several workers may train one trial, each with a `Trial` in its own place of a `World`. The batch is that of the dictionary
whatever their number: each draws the same order and augmentation and takes its part of every micro-batch, gradients are
averaged, and the numbers are those of one worker but for the order of sums, the draws of dropout, of which each rank has
its own, and auxiliary losses, which see a rank's part of a micro-batch at a time. Their files are any number's to go on
with.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from arch_space.initialise import initialise
from results.errors import InputError
from results.rows import EpochRow
from trainer import checkpoint
from trainer.background import Writer
from trainer.beginning import begin
from trainer.board import Board
from trainer.compiled import Compilation, compile_regions, compiles, uncompiled
from trainer.config import TrialConfig
from trainer.dataset import Dataset
from trainer.diagnostics import Diagnostics, tree_diagnostics
from trainer.draws import seed_draws, set_states, states_of_all
from trainer.engine import build_engine, set_determinism
from trainer.evaluation import EVALUATION_BATCH, Evaluation, evaluate
from trainer.forms import accuracy_by_form, mean_auxiliary_loss
from trainer.input_pipeline import EvalLoader, TrainLoader
from trainer.lease import EndedError
from trainer.level_rates import level_rates_of
from trainer.memory import give_back_freed
from trainer.optimizer import set_rate
from trainer.ranks import ALONE, SINGLE, Ranks, World
from trainer.report import Report, Status
from trainer.resolve import cached_dataset, require_workers
from trainer.schedule import factor_by_step, steps_per_epoch
from trainer.step import EngineStep, GraphedStep, records, smoothed_cross_entropy
from trainer.stopwatch import Stopwatch
from trainer.zero import load_optimizer_state, optimizer_state, torch_optimizer


class Trial:
    """The state of one trial in this process: engine, loaders, schedule and what it has reported so far.

    Args:
        config: resolved (its `precision` is not auto, `classes` and `image_size` are the data's).
        folder: the trial's own; made here. A checkpoint in it is taken up.
        reported: how many epochs the receiver of the reports has already; later ones are handed out again.
        accumulation: micro-batches a step, where memory does not suffice for those of `config`, which stays what the trial
            is; it must divide the batch.
        dataset: where it is not the one that `config.data` names.
        on_batch: called with the number of images after every micro-batch of training, for a progress bar.
        world: the place of this process among the trial's workers; all see the same folder, and rank 0 writes.
        hparams: for TensorBoard, as `Board` takes them.
        guard: called before every change in the folder; what it raises ends the trial here (`trainer.lease`).
        eager_epochs: so many come before any with compiled code, for who times both.
    Raises:
        InputError: data that are missing or damaged; a checkpoint that is damaged or of another trial; a number of workers
            that does not divide the micro-batch.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        device: torch.device,
        threads: int,
        reported: int = 0,
        accumulation: int | None = None,
        dataset: Dataset | None = None,
        on_batch: Callable[[int], None] = lambda images: None,
        world: World = SINGLE,
        hparams: Mapping[str, str] | None = None,
        guard: Callable[[], None] = lambda: None,
        eager_epochs: int = 0,
    ) -> None:
        self._began = time.perf_counter()
        self.config, self.folder, self.device, self.threads = config, folder, device, threads
        self._reported, self._on_batch, self._guard = reported, on_batch, guard
        self.world, self._ranks = world, Ranks(world, device)
        self._trained = replace(config, accumulation=accumulation or config.accumulation)
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(threads)
        set_determinism(config.deterministic)
        self.dataset = dataset if dataset is not None else cached_dataset(config.data)

        require_workers(self._trained, world.size, self.dataset)
        if world.size == 1:
            begin(device)  # not before: what is wrong with the input has been said by now
        own = replace(self._trained, batch_size=config.batch_size // world.size)  # what this worker computes
        model = config.model.build()
        self._compilation = Compilation(own, model, wanted=compiles(config, device))
        self._compiled, self._eager_epochs = False, eager_epochs
        self.steps_an_epoch = steps_per_epoch(len(self.dataset.train), config.batch_size)
        self.history: list[Report] = []
        resumes = (folder / checkpoint.LAST).exists()
        if not resumes:
            self._compilation.start_beside(self._images_left)  # first: it takes as long as all that follows

        initialise(model, config.seed)
        self._factor = factor_by_step(config, self.steps_an_epoch)
        self._engine = build_engine(model, self._trained, device, world)
        self._model, self._optimizer = model, torch_optimizer(self._engine)
        self._writer = Writer(device)
        seed_draws(config.seed, self._ranks)  # dropout draws from here on

        self._best_epoch, self._best_acc = 0, -math.inf
        self._lowest_loss, self._lowest_epoch = math.inf, 0
        self._seconds_before = 0.0
        leaves: dict[str, torch.Tensor] = {}
        if resumes:
            leaves = self._resume(folder / checkpoint.LAST)
            self._compilation.start_beside(self._images_left)
        self._require_one_folder()
        guard()
        if self._ranks.leads:
            checkpoint.remove_other_bests(folder, self._best_epoch)

        self._engine_step = EngineStep(
            self._engine,
            smoothed_cross_entropy(config.label_smoothing),
            0.0 if config.zero_stage else config.clip_norm,
            device,
        )
        self._step: EngineStep | GraphedStep = (
            GraphedStep(self._engine_step) if records(device, config.zero_stage) else self._engine_step
        )

        self.train_loader = TrainLoader(
            self.dataset.train,
            dataset=self.dataset,
            batch_size=self._trained.micro_batch,
            steps=self.steps_an_epoch * self._trained.accumulation,
            augment=config.augment,
            seed=config.seed,
            device=device,
            start_epoch=self.epoch + 1,
            threads=threads,
            ranks=self._ranks,
        )
        self._val_loader = self._eval_loader("val", self._ranks)
        self._diagnostics = self._build_diagnostics(leaves) if self._ranks.leads else None
        self._hparams = hparams
        self._board: Board | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def epoch(self) -> int:
        """Epochs trained so far."""
        return len(self.history)

    @property
    def ended(self) -> bool:
        return bool(self.history) and self.history[-1].ended

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """torch's own, under whatever DeepSpeed has put around it."""
        return self._optimizer

    def reports(self) -> Iterator[Report]:
        """Reports that the receiver may lack, then a new epoch each, up to the trial's end."""
        yield from self.history[self._reported :]
        while not self.ended:
            report = self._next_epoch()
            if report.row.epoch > self._reported or report.ended:
                yield report

    def close(self) -> None:
        """Free what the trial holds, so that the process can train the next one; the checkpoint is on disk then."""
        try:
            # where the driver has removed the files of a trial that it stopped, or the disk is full: what is not
            # written is trained again, and the worker is free for the next trial
            with contextlib.suppress(OSError):
                self._writer.wait()
        finally:
            self._free()

    def _free(self) -> None:
        if self._board is not None:
            self._board.close()
        self._step.close()
        self.train_loader.close()
        self._val_loader.close()
        self._engine.destroy()
        del self._step, self._engine_step, self._engine, self._optimizer, self._model, self._diagnostics
        gc.collect()
        give_back_freed()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # one epoch

    def _next_epoch(self) -> Report:
        epoch = self.epoch + 1
        self._take_up_compiled()
        watch = Stopwatch(self.device)
        watch.mark()
        total = self._train(epoch)
        watch.mark()
        self._ranks.mean_(total, self._engine_step.auxiliary_total)
        validation = self._evaluate(self._val_loader)  # reads the device; nothing before does
        watch.mark()
        train_loss = total.item() / (self.steps_an_epoch * self._trained.accumulation)
        train_seconds, val_seconds = watch.intervals()
        extra: dict[str, Any] = {
            **({"compiled": True} if self._compiled else {}),
            **mean_auxiliary_loss(self._engine_step, self.steps_an_epoch * self._trained.accumulation),
            **accuracy_by_form(self._model, lambda: self._evaluate(self._val_loader)),
        }
        if self._diagnostics is not None:
            extra["trees"] = self._diagnostics.measure(histogram=epoch == self.config.epochs)

        row = EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=validation.loss,
            val_acc=validation.accuracy,
            lr=self.config.lr * self._factor(epoch * self.steps_an_epoch - 1),  # of the epoch's last step
            train_seconds=train_seconds,
            val_seconds=val_seconds,
            images_per_second=self.steps_an_epoch * self.config.batch_size / train_seconds,
            extra=extra,
        )
        if not math.isfinite(train_loss) or not math.isfinite(validation.loss):
            return self._report(row, "diverged")
        is_best = self._note_best(row)
        status: Status = "running"
        if epoch >= self.config.epochs:
            status = "finished"
        elif self.config.patience is not None and epoch - self._lowest_epoch >= self.config.patience:
            status = "plateau"
        report = self._report(row, status, None if status == "running" else self._finish(epoch, validation))
        self._save_last(is_best=is_best)
        return report

    @property
    def _images_left(self) -> int:
        return (self.config.epochs - self.epoch) * self.steps_an_epoch * self.config.batch_size

    def _take_up_compiled(self) -> None:
        """Compiled blocks from this epoch on, where their code is there by now and the rest of the trial repays it."""
        if self._compiled:
            return
        ready = self._step.settled and self._compilation.repays(self._images_left)
        if self.epoch < self._eager_epochs or not (ready or self._compilation.loaded):
            self._compilation.trained_eagerly(self.steps_an_epoch * self.config.batch_size)  # the epoch that follows
            return
        compile_regions(self._model)
        self._compilation.taken_up()
        self._compiled = True
        if isinstance(self._step, GraphedStep):
            self._step.close()
            self._step = GraphedStep(self._engine_step)

    def _train(self, epoch: int) -> torch.Tensor:
        """One epoch of training; the sum of all losses, on the device."""
        self._engine.train()
        self._engine_step.start_epoch()
        first = (epoch - 1) * self.steps_an_epoch
        micro_batches = self.train_loader.epoch()
        groups = zip(*[micro_batches] * self._trained.accumulation, strict=True)
        for step, batches in enumerate(groups, start=first):
            set_rate(self._optimizer, self.config.lr * self._factor(step))
            self._step(batches)
            self._on_batch(self.config.batch_size)
        return self._engine_step.total

    def _evaluate(self, loader: EvalLoader) -> Evaluation:
        eager = self._compiled and not self._compilation.evaluates
        with uncompiled(self._model) if eager else contextlib.nullcontext():
            whole = self._compiled and not eager
            return evaluate(
                self._model, loader, self.device, self.config.precision, whole_batches=whole, ranks=self._ranks
            )

    def _build_diagnostics(self, leaves: dict[str, torch.Tensor]) -> Diagnostics | None:
        """Of rank 0 alone, which has all weights; on the first images of the whole split, whatever its share of it is."""
        whole = self._val_loader if self._ranks.size == 1 else self._eval_loader("val", ALONE)
        found = tree_diagnostics(self._model, whole, self.config.precision, leaves, trained=len(self.dataset.train))
        if whole is not self._val_loader:
            whole.close()
        return found

    def _eval_loader(self, split: Literal["val", "test"], ranks: Ranks) -> EvalLoader:
        return EvalLoader(
            getattr(self.dataset, split),
            dataset=self.dataset,
            batch_size=EVALUATION_BATCH,
            augment=self.config.augment,
            device=self.device,
            threads=self.threads,
            ranks=ranks,
        )

    def _report(self, row: EpochRow, status: Status, test: Evaluation | None = None) -> Report:
        on_gpu = self.device.type == "cuda"
        report = Report(
            row=row,
            status=status,
            wall_seconds=self._wall_seconds(),
            test_acc=test.accuracy if test else None,
            test_loss=test.loss if test else None,
            gpu_memory_bytes=torch.cuda.max_memory_allocated(self.device) if on_gpu else None,
        )
        self._guard()
        self.history.append(report)
        if self._ranks.leads:
            if self._board is None:  # not before: its import takes as long as the first steps
                flat, rates = self.config.to_flat(), level_rates_of(self.config.model.ffn)
                self._board = Board(self.folder / "tensorboard", flat, row.epoch, rates, self._hparams)
            self._board.add(row)
        return report

    def _wall_seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._began

    # checkpoints

    def _note_best(self, row: EpochRow) -> bool:
        """Whether the epoch has the highest validation accuracy so far."""
        if row.val_loss is not None and row.val_loss < self._lowest_loss:
            self._lowest_loss, self._lowest_epoch = row.val_loss, row.epoch
        if row.val_acc is None or row.val_acc <= self._best_acc:
            return False
        self._best_acc, self._best_epoch = row.val_acc, row.epoch
        return True

    def _weights(self, epoch: int) -> dict[str, Any]:
        return {"flat": self.config.to_flat(), "epoch": epoch, "model": self._model.state_dict()}

    def _save_last(self, *, is_best: bool) -> None:
        """Have `last.pt` written, and a best epoch's own file where `select` may want it, while training goes on.

        A slow disk costs no time: where the last one is still being written, this epoch goes without, unless it is a
        best one or the end, which is on disk before it is reported.
        """
        wanted = is_best and self.config.select == "best"
        if self._ranks.leaders(self._writer.busy and not wanted and not self.ended):
            return
        rng = states_of_all(self._ranks, self.device)
        optimizer = optimizer_state(self._engine, self._ranks)
        if not self._ranks.leads:
            return
        weights = self._weights(self.epoch)
        rest = {
            "optimizer": optimizer,
            "rng": rng[0],
            "rng_of_others": rng[1:],
            "history": [report.to_plain() for report in self.history],
            "best": (self._best_epoch, self._best_acc, self._lowest_epoch, self._lowest_loss),
            "wall_seconds": self._wall_seconds(),
            "leaves": {} if self._diagnostics is None else self._diagnostics.leaves,
        }
        best_epoch = self._best_epoch

        def write(content: dict[str, Any]) -> None:
            # the best first, former bests last: a kill in between loses neither
            try:
                self._guard()
                if wanted:
                    checkpoint.save(checkpoint.best_path(self.folder, best_epoch), content["weights"])
                    self._guard()  # again: a large file may have taken a minute
                checkpoint.save(self.folder / checkpoint.LAST, {**content["weights"], **content["rest"]})
                self._guard()
            except EndedError:
                checkpoint.remove_resume_files(self.folder)
                raise
            checkpoint.remove_other_bests(self.folder, best_epoch)

        self._writer.start({"weights": weights, "rest": rest}, write)
        if self.ended or self.device.type == "cpu":  # on a CPU it would take the cores from the training
            self._writer.wait()

    def _resume(self, path: Path) -> dict[str, torch.Tensor]:
        """Take up where the file was written; returns the leaves that the diagnostics compare the next epoch's with."""
        parts = ("optimizer", "rng", "history", "best", "wall_seconds")
        content = checkpoint.load(path, self.device, needed=parts)
        checkpoint.require_same_trial(content, self.config, path)
        checkpoint.load_weights(self._model, content, path)
        load_optimizer_state(self._engine, content["optimizer"], self._ranks)
        states = [content["rng"], *content.get("rng_of_others", [])]
        set_states(states, self.config.seed, content["epoch"], self._ranks, self.device)
        self.history = [Report.from_plain(plain) for plain in content["history"]]
        self._best_epoch, self._best_acc, self._lowest_epoch, self._lowest_loss = content["best"]
        self._seconds_before = content["wall_seconds"]
        return dict(content.get("leaves", {}))

    def _require_one_folder(self) -> None:
        """Raises InputError where the ranks have found different checkpoints."""
        epochs = [int(epoch) for epoch in self._ranks.gather(torch.tensor(self.epoch))]
        if len(set(epochs)) > 1:
            raise InputError(
                f"All workers of a trial must see the same folder, but their checkpoints in {self.folder} are of epochs "
                f"{', '.join(map(str, epochs))}; give the search a storage on a disk that its nodes share."
            )

    def _finish(self, epoch: int, last: Evaluation) -> Evaluation:
        """Keep the selected checkpoint alone, test it once, and keep what it predicted for every image."""
        validation = last
        weights = self._weights(epoch)
        if self.config.select == "best" and self._best_epoch != epoch:
            self._writer.wait()
            self._ranks.leaders(0)  # rank 0 has written it
            path = checkpoint.best_path(self.folder, self._best_epoch)
            weights = checkpoint.load(path, self.device)
            checkpoint.load_weights(self._model, weights, path)
            validation = self._evaluate(self._val_loader)
        loader = self._eval_loader("test", self._ranks)
        test = self._evaluate(loader)
        loader.close()
        if not self._ranks.leads:
            return test
        self._guard()
        checkpoint.save(self.folder / checkpoint.SELECTED, weights)
        checkpoint.save_arrays(
            self.folder / checkpoint.PREDICTIONS, val=np.asarray(validation.predictions), test=test.predictions
        )
        return test
