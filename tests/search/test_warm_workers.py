"""One worker that trains trial after trial: the same process all along, and no larger at the end than when it was warm."""

import pytest

WARM = 20
"""Trials after which allocators and caches are as large as they get: 572 MiB after 1, 621 after 20, 618 after 100."""
TOLERATED_BYTES = 40 * 2**20
"""How much more memory a later trial may be seen with: within a trial it goes up and down by half of that."""
TOLERATED_FILES = TOLERATED_THREADS = 4
"""Ray opens and closes some of its own."""


def train_in_a_row(place, trials):
    """Figures of the worker in the first epoch of each of so many trials on one slot: bytes, file descriptors, threads."""
    search = place.start("search.run", "pairs.py", "--concurrency", "1", "--epochs", "2", "--seeds", str(trials // 2))
    figures, pids = [], set()
    for number in range(1, trials + 1):
        search.wait_for(rf"pairs-1\.{number} .*epoch 1/2")
        worker = place.worker_of(f"pairs-1.{number}")
        figures.append((worker.memory_info().rss, worker.num_fds(), worker.num_threads()))
        pids.add(worker.pid)
    assert search.finish() == 0, search.output
    assert len(pids) == 1, "every trial had the same worker"
    with place.store() as store:
        assert {row.status for row in store.trials("pairs-1")} == {"finished"}
    return figures


def require_no_growth(figures, warm):
    """Between the first trials and the others; memory where the first ones are enough for it to be warm."""
    for number in sorted({1, warm, len(figures) // 2, len(figures)}):
        memory, files, threads = figures[number - 1]
        print(f"trial {number:3d}: {memory / 2**20:.0f} MiB, {files} file descriptors, {threads} threads")
    most_memory, most_files, most_threads = (max(values) for values in zip(*figures[:warm], strict=True))
    for memory, files, threads in figures[warm:]:
        assert warm < WARM or memory <= most_memory + TOLERATED_BYTES
        assert files <= most_files + TOLERATED_FILES
        assert threads <= most_threads + TOLERATED_THREADS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trials_in_a_row_have_one_worker_and_leave_no_files_or_threads_behind(place):
    require_no_growth(train_in_a_row(place, 12), warm=4)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_trials_in_one_worker_leave_no_memory_files_or_threads_behind(place):
    require_no_growth(train_in_a_row(place, 100), warm=WARM)
