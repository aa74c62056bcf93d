"""One worker that trains trial after trial: the same process all along, and no larger at the end than when it was warm."""

import pytest

WARM = 10
"""Trials after which allocators, compiled regular expressions and caches are as large as they get."""
TOLERATED_BYTES = 20 * 2**20
"""Of growth from there on, over any number of trials: allocators keep pages that another trial leaves in pieces."""


def train_in_a_row(place, trials):
    """Figures of the worker in the first epoch of each of so many trials on one slot: bytes, file descriptors, threads."""
    search = place.start(
        "search.run", "pairs.py", "--concurrency", "1", "--epochs", "2", "--seeds", str(trials // 2)
    )  # fmt: skip
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


def require_no_growth(figures):
    for number in sorted({1, WARM, len(figures) // 2, len(figures)}):
        memory, files, threads = figures[number - 1]
        print(f"trial {number:3d}: {memory / 2**20:.0f} MiB, {files} file descriptors, {threads} threads")
    for memory, files, threads in figures[WARM:]:
        assert memory <= figures[WARM - 1][0] + TOLERATED_BYTES
        assert files <= max(files for _, files, _ in figures[:WARM])
        assert threads <= max(threads for _, _, threads in figures[:WARM])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_trials_in_one_worker_leave_no_memory_files_or_threads_behind(place):
    require_no_growth(train_in_a_row(place, 20))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_trials_in_one_worker_leave_no_memory_files_or_threads_behind(place):
    require_no_growth(train_in_a_row(place, 100))
