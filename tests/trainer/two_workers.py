"""Two processes that train together as a gang does, for tests: they meet over loopback and take one job after another."""

import multiprocessing
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

SIZE = 2


def serve(rank: int, pipe: Any) -> None:
    """The life of one worker: its address first, then a list of reports, or the text of an error, for every job."""
    import torch

    from trainer.ranks import World, open_rendezvous
    from trainer.resolve import resolve
    from trainer.trial import Trial

    if rank == 0:
        pipe.send(open_rendezvous())
    world = World(rank=rank, size=SIZE, address=pipe.recv())
    while (job := pipe.recv()) is not None:
        flat, folder, epochs = job
        try:
            reports = []
            config = resolve(flat, on_gpu=False)
            trial = Trial(config, Path(folder), device=torch.device("cpu"), threads=1, world=world)
            for report in trial.reports():
                reports.append(asdict(report))
                if len(reports) == epochs:
                    break
            trial.close()
            pipe.send(reports)
        except Exception as error:  # noqa: BLE001  # the test shows it
            pipe.send(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


class TwoWorkers:
    """Starts them; `train` gives what each rank reported."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        self.processes = []
        for rank in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(rank, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self.processes.append(process)
        address = self._pipes[0].recv()
        for pipe in self._pipes:
            pipe.send(address)

    def train(self, flat: dict[str, Any], folder: Path, epochs: int | None = None) -> list[Any]:
        """The reports of each rank, as dictionaries, left after `epochs`; or the text of its error."""
        for pipe in self._pipes:
            pipe.send((flat, str(folder), epochs))
        return [pipe.recv() for pipe in self._pipes]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)
