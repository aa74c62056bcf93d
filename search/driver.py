"""Runs a session under Ray Tune: brings Ray up on this machine, fits, and takes all of it down again; or joins a running
cluster for that, and leaves it as it was."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from search.ray_folder import ray_folder, remove_abandoned
from search.ray_watch import RayWatch
from search.resources import Resources
from search.session import Session
from search.told import display_name
from search.watchdog import Watchdog

_stopping = threading.Event()
"""SIGTERM has come to this process."""


def run_session(
    session: Session,
    resources: Resources,
    *,
    variants: Sequence[str],
    dashboard: bool,
    watchdog: Watchdog,
    on_ray: Callable[[str | None], None],
    send_code: bool = False,
) -> str:
    """Train until the session is done, its time is up, or Ctrl-C; returns the status that the search then has.

    Args:
        variants: files or folders of feed-forward kinds outside the package, for the workers to load.
        dashboard: whether Ray's dashboard is started, on loopback.
        watchdog: kills workers that have fallen silent; new.
        on_ray: called once Ray is up, with the dashboard's URL if there is one.
        send_code: whether a node of the joined cluster lacks this code (`search.nodes`).
    Raises:
        KeyboardInterrupt: after Ctrl-C, when all is down and the store says `interrupted`.
        OSError: the disk of the store or of a worker is full; what was committed is there, and `--resume` goes on.
    """
    _quiet_environment(session, joins=resources.cluster is not None)
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    tune_folder = _tune_folder(session)
    status = "interrupted"
    with ray_folder() as temporary:
        try:
            with RayWatch(session, temporary, _stopping, options=_options(dashboard, watchdog)):
                _fit(session, resources, variants, dashboard, watchdog, on_ray, tune_folder, temporary, send_code)
        except Exception:
            if session.broken is None:
                raise
            raise session.broken from None  # Tune wraps what its callbacks raise into text
        finally:
            try:
                if session.broken is None:
                    status = session.close()  # before Ray goes, which takes seconds in which a second Ctrl-C may come
            finally:
                _shut_ray_down()
                shutil.rmtree(tune_folder, ignore_errors=True)  # Tune's own notes; the store is the truth
    if status in ("ended", "stopped"):
        session.remove_left_files()
    if status == "interrupted" and not session.budget.used_up:
        raise KeyboardInterrupt
    return status


def _options(dashboard: bool, watchdog: Watchdog) -> list[str]:
    """What the store does not know of how a search is run."""
    return ["--dashboard" if dashboard else "--no-dashboard", "--watchdog", f"{watchdog.times:g}"]


def tidy_up(session: Session) -> None:
    """Remove what a driver left that was killed when its search was complete already, so that none comes after it."""
    remove_abandoned()
    shutil.rmtree(_tune_folder(session), ignore_errors=True)


def _tune_folder(session: Session) -> Path:
    return session.folder / "ray"


def _fit(
    session: Session,
    resources: Resources,
    variants: Sequence[str],
    dashboard: bool,
    watchdog: Watchdog,
    on_ray: Callable[[str | None], None],
    tune_folder: Path,
    temporary: Path,
    send_code: bool,
) -> None:
    """Bring Ray up and let Tune train until the session is done; returns early after Ctrl-C."""
    from ray import tune

    from search.gang import shape
    from search.ray_adaptors import SessionScheduler, SessionSearcher, TrialActor
    from search.ray_memory import count_memory_kills_as_deaths
    from search.ray_watchdog import Watching
    from search.told import hparams

    count_memory_kills_as_deaths()

    with _ctrl_c_held_back():
        context = _bring_up(resources, dashboard, send_code, temporary)
        signal.signal(signal.SIGTERM, _as_ctrl_c)  # again: Ray has put its own in place
    on_ray(f"http://{context.dashboard_url}" if context.dashboard_url else None)
    assert session.header is not None  # only a simulation has none
    work = {
        "data": str(session.header.path),
        "data_checksum": session.header.checksum,
        "gpus": resources.gpus_per_trial,
        "cpus": resources.cpus_per_trial,
        "workers": resources.workers_per_trial,
        "nodes": resources.nodes_per_trial,
        "threads": resources.threads,
        "variants": list(variants),
        "hparams": hparams(session.experiment),
    }
    own: Any = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    shipped = None
    if resources.cluster is not None:
        from search.shipping import ship

        shipped = ship(session.header, variants)
    trainable = tune.with_resources(
        tune.with_parameters(TrialActor, shipped=shipped) if shipped is not None else TrialActor,
        own if resources.workers_per_trial == 1 else shape(resources),
    )
    trainable.__qualname__ = TrialActor.__qualname__  # Ray's dashboard shows it, and else a name of Tune's own
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=-1,
            search_alg=SessionSearcher(session, work, ahead=_first_trains_here(resources)),
            scheduler=SessionScheduler(session, watchdog),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(tune_folder.resolve()),
            verbose=0,
            callbacks=[Watching(session, watchdog)],
            # the session starts such a trial again: Tune counts a worker twice that dies between two trials
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )
    tuner.fit()


def _first_trains_here(resources: Resources) -> bool:
    """Whether a process of this machine knows the GPU and the shapes of the first trial."""
    return resources.cluster is None and resources.gpus_per_trial > 0 and resources.workers_per_trial == 1


def _bring_up(resources: Resources, dashboard: bool, send_code: bool, temporary: Path) -> Any:
    """What `ray.init` returns, for a Ray of our own or for the cluster that is joined."""
    import ray

    if resources.cluster is not None:
        from search.nodes import join, staged_code

        with staged_code(send_code) as code:
            return join(resources.cluster, code=code)
    return ray.init(
        address="local",  # else Ray joins whatever cluster a file in /tmp names
        _temp_dir=str(temporary),
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """SIGTERM, as a job scheduler sends it, does what Ctrl-C does at that moment: Tune's `fit` has a handler of its own."""
    _stopping.set()
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell that starts a job in the background has it ignore SIGINT
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C takes effect at the end: in the middle of its start, Ray swallows it, or leaves agents behind."""
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    except SystemExit:  # from Ray's own handler of SIGTERM
        came = True
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _shut_ray_down() -> None:
    """Ends a Ray of our own; of a joined cluster only our job, with its actors."""
    import ray

    ray.shutdown()


def _trial_name(trial: Any) -> str:
    """What Tune calls a trial: search, number and variant."""
    return display_name(trial.config["arbor"])


def _quiet_environment(session: Session, *, joins: bool) -> None:
    """Settings that Ray and its processes read from the environment, before its import."""
    if not joins:
        # Ray's default on desktop systems: all its ports on loopback, which its node address alone does not achieve
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.update(
        RAY_AUTH_MODE=os.environ.get("RAY_AUTH_MODE", "token"),
        RAY_AIR_NEW_OUTPUT="0",
        RAY_DEDUP_LOGS="0",
        RAY_USAGE_STATS_ENABLED="0",
        RAY_CHDIR_TO_TRIAL_DIR="0",  # paths mean what they mean to the user
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",  # TensorBoard is written by the trial itself, once
        TUNE_PRINT_ALL_TRIAL_ERRORS="0",  # `SessionScheduler.on_trial_error` says it in a sentence
        TUNE_DISABLE_STRICT_METRIC_CHECKING="1",  # a failed trial reports no accuracy
        TUNE_MAX_PENDING_TRIALS_PG=str(max(1, session.concurrency)),  # else trials start one after another
        TUNE_GLOBAL_CHECKPOINT_S="1000000",
        TUNE_WARN_THRESHOLD_S="30",
    )
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    # else glibc keeps the freed memory of many threads in as many arenas, more with every trial of a worker
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
