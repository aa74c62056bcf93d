"""One trial, from its flat dictionary to its tested checkpoint, one epoch at a time.

    trial = Trial(config, folder, device=device, threads=1)
    for report in trial.reports():
        ...            # commit it; leave the loop to stop early
    trial.close()

The same code runs under Tune, in `trainer.run`, in `trainer.replay` and in tests; it knows none of them.

What a kill may cost: nothing that was reported. `last.pt` holds the reports of all its epochs, so a trial that comes
back hands out again what its receiver may have missed (from epoch `reported + 1`) and goes on, bit for bit on a CPU.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from arch_space.initialise import initialise
from results.rows import EpochRow
from trainer import checkpoint
from trainer.board import Board
from trainer.config import TrialConfig
from trainer.dataset import Dataset
from trainer.engine import build_engine
from trainer.evaluation import EVALUATION_BATCH, Evaluation, evaluate
from trainer.input_pipeline import EvalLoader, TrainLoader
from trainer.report import Report, Status
from trainer.resolve import cached_dataset
from trainer.schedule import factor_by_step, steps_per_epoch


class Trial:
    """The state of one trial in this process: engine, loaders, schedule and what it has reported so far.

    Args:
        config: resolved (its `precision` is not auto, `classes` and `image_size` are the data's).
        folder: the trial's own; made here. A checkpoint in it is taken up.
        reported: how many epochs the receiver of the reports has already; later ones are handed out again.
        dataset: where it is not the one that `config.data` names.
        on_batch: called with the number of images after every micro-batch of training, for a progress bar.
    Raises:
        InputError: data that are missing or damaged; a checkpoint that is damaged or of another trial.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        device: torch.device,
        threads: int,
        reported: int = 0,
        dataset: Dataset | None = None,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._began = time.perf_counter()
        self.config, self.folder, self.device, self.threads = config, folder, device, threads
        self._reported, self._on_batch = reported, on_batch
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(threads)
        self.dataset = dataset if dataset is not None else cached_dataset(config.data)

        model = config.model.build()
        initialise(model, config.seed)
        self.steps_an_epoch = steps_per_epoch(len(self.dataset.train), config.batch_size)
        self._factor = factor_by_step(config, self.steps_an_epoch)
        self._engine = build_engine(model, config, self._factor, device)
        self._model, self._optimizer = model, self._engine.optimizer
        torch.manual_seed(config.seed)  # dropout draws from here on

        self.history: list[Report] = []
        self._best_epoch, self._best_acc = 0, -math.inf
        self._lowest_loss, self._lowest_epoch = math.inf, 0
        self._seconds_before = 0.0
        if (folder / checkpoint.LAST).exists():
            self._resume(folder / checkpoint.LAST)
        checkpoint.remove_other_bests(folder, self._best_epoch)

        self._train_loader = TrainLoader(
            self.dataset.train,
            dataset=self.dataset,
            batch_size=config.micro_batch,
            steps=self.steps_an_epoch * config.accumulation,
            augment=config.augment,
            seed=config.seed,
            device=device,
            start_epoch=self.epoch + 1,
            threads=threads,
        )
        self._val_loader = self._eval_loader("val")
        self._board = Board(folder / "tensorboard", config.to_flat(), self.epoch + 1)
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
        """As DeepSpeed runs it."""
        return self._optimizer

    def reports(self) -> Iterator[Report]:
        """Reports that the receiver may lack, then a new epoch each, up to the trial's end."""
        yield from self.history[self._reported :]
        while not self.ended:
            yield self._next_epoch()

    def close(self) -> None:
        """Free what the trial holds, so that the process can train the next one."""
        self._board.close()
        self._train_loader.close()
        self._val_loader.close()
        self._engine.destroy()
        del self._engine, self._optimizer, self._model
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # one epoch

    def _next_epoch(self) -> Report:
        epoch = self.epoch + 1
        start = time.perf_counter()
        train_loss = self._train()
        trained = time.perf_counter()
        validation = self._evaluate(self._val_loader)
        validated = time.perf_counter()

        row = EpochRow(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=validation.loss,
            val_acc=validation.accuracy,
            lr=self.config.lr * self._factor(epoch * self.steps_an_epoch - 1),  # of the epoch's last step
            train_seconds=trained - start,
            val_seconds=validated - trained,
            images_per_second=self.steps_an_epoch * self.config.batch_size / (trained - start),
            extra={},
        )
        if not math.isfinite(train_loss) or not math.isfinite(validation.loss):
            return self._report(row, "diverged")
        self._note_best(row)
        status: Status = "running"
        if epoch >= self.config.epochs:
            status = "finished"
        elif self.config.patience is not None and epoch - self._lowest_epoch >= self.config.patience:
            status = "plateau"
        report = self._report(row, status, None if status == "running" else self._finish(epoch, validation))
        self._save_last()
        return report

    def _train(self) -> float:
        """One epoch of training; the mean loss, read from the device once."""
        self._engine.train()
        total = torch.zeros((), device=self.device)
        for images, labels in self._train_loader.epoch():
            loss = self._loss(self._engine(images), labels)
            self._engine.backward(loss)
            self._engine.step()
            total += loss.detach()
            self._on_batch(len(labels))
        return total.item() / (self.steps_an_epoch * self.config.accumulation)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)

    def _evaluate(self, loader: EvalLoader) -> Evaluation:
        return evaluate(self._model, loader, self.device, self.config.precision)

    def _eval_loader(self, split: Literal["val", "test"]) -> EvalLoader:
        return EvalLoader(
            getattr(self.dataset, split),
            dataset=self.dataset,
            batch_size=EVALUATION_BATCH,
            augment=self.config.augment,
            device=self.device,
            threads=self.threads,
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
        self.history.append(report)
        self._board.add(row)
        return report

    def _wall_seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._began

    # checkpoints

    def _note_best(self, row: EpochRow) -> None:
        if row.val_loss is not None and row.val_loss < self._lowest_loss:
            self._lowest_loss, self._lowest_epoch = row.val_loss, row.epoch
        if row.val_acc is not None and row.val_acc > self._best_acc:
            self._best_acc, self._best_epoch = row.val_acc, row.epoch
            checkpoint.save(checkpoint.best_path(self.folder, row.epoch), self._weights(row.epoch))

    def _weights(self, epoch: int) -> dict[str, Any]:
        return {"flat": self.config.to_flat(), "epoch": epoch, "model": self._model.state_dict()}

    def _save_last(self) -> None:
        """After the best of this epoch was written and before older bests go: a kill in between loses neither."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint.save(
            self.folder / checkpoint.LAST,
            {
                **self._weights(self.epoch),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._engine.lr_scheduler.state_dict(),
                "rng": rng,
                "history": [report.to_plain() for report in self.history],
                "best": (self._best_epoch, self._best_acc, self._lowest_epoch, self._lowest_loss),
                "wall_seconds": self._wall_seconds(),
            },
        )
        checkpoint.remove_other_bests(self.folder, self._best_epoch)

    def _resume(self, path: Path) -> None:
        parts = ("optimizer", "schedule", "rng", "history", "best", "wall_seconds")
        content = checkpoint.load(path, self.device, needed=parts)
        checkpoint.require_same_trial(content, self.config, path)
        checkpoint.load_weights(self._model, content, path)
        self._optimizer.load_state_dict(content["optimizer"])
        self._engine.lr_scheduler.load_state_dict(content["schedule"])
        torch.set_rng_state(content["rng"]["cpu"].cpu())
        if "cuda" in content["rng"]:
            torch.cuda.set_rng_state(content["rng"]["cuda"].cpu(), self.device)
        self.history = [Report.from_plain(plain) for plain in content["history"]]
        self._best_epoch, self._best_acc, self._lowest_epoch, self._lowest_loss = content["best"]
        self._seconds_before = content["wall_seconds"]

    def _finish(self, epoch: int, last: Evaluation) -> Evaluation:
        """Keep the selected checkpoint alone, test it once, and keep what it predicted for every image."""
        validation = last
        weights = self._weights(epoch)
        if self.config.select == "best" and self._best_epoch != epoch:
            path = checkpoint.best_path(self.folder, self._best_epoch)
            weights = checkpoint.load(path, self.device)
            checkpoint.load_weights(self._model, weights, path)
            validation = self._evaluate(self._val_loader)
        loader = self._eval_loader("test")
        test = self._evaluate(loader)
        loader.close()
        checkpoint.save(self.folder / checkpoint.SELECTED, weights)
        checkpoint.save_arrays(
            self.folder / checkpoint.PREDICTIONS, val=np.asarray(validation.predictions), test=test.predictions
        )
        return test
