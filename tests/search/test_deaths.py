"""Why a worker is gone, from what Tune wrote down and what the kernel counted."""

from pathlib import Path

from search.deaths import DIED, cause_of_death, killed_for_memory

BEFORE = "Failure # 1 (occurred at 2026-11-24_12-00-00)\nThe actor died: running low on memory\n"
PLAIN = """\
Failure # 2 (occurred at 2026-11-24_12-00-09)
The actor died unexpectedly before finishing this task.
	class_name: TrialActor
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed by \
the OOM killer due to high memory usage, (2) ray stop --force is called, or (3) the worker is crashed unexpectedly.
"""
RAISED = """\
Failure # 3 (occurred at 2026-11-24_12-00-09)
ray::TrialActor.train() (pid=1)
Traceback (most recent call last):
  File "x.py", line 1, in step
ValueError: no
"""

LOST = RAISED.replace(
    "ValueError: no",
    "trainer.lost_gpu.GpuLostError: the GPU failed under the trial's worker process: AcceleratorError: CUDA error: "
    "unspecified launch failure",
)


def test_a_process_that_just_died_is_not_said_to_have_had_too_little_memory():
    """Ray names the kernel's killer as a possible cause of every death; only the kernel's own count is believed."""
    assert cause_of_death(BEFORE + PLAIN, 0) == DIED
    assert cause_of_death(BEFORE + PLAIN, 1) == f"{DIED}, while the kernel killed a process for lack of memory"


def test_only_the_last_failure_counts():
    assert "Ray's memory monitor" in cause_of_death(BEFORE, 0)
    assert cause_of_death(BEFORE + PLAIN + RAISED, 0) == "the trial's worker process raised ValueError: no"


def test_a_lost_gpu_says_so_itself():
    assert cause_of_death(BEFORE + LOST, 1) == (
        "the GPU failed under the trial's worker process: AcceleratorError: CUDA error: unspecified launch failure"
    )


def test_the_kernels_count_is_read_where_this_machine_has_one():
    counted = killed_for_memory()
    assert counted >= 0
    lines = Path("/proc/vmstat").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    assert counted <= total
