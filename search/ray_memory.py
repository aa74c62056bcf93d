"""A gap of Ray Tune 2.60, closed: it must survive a worker that Ray's own memory monitor killed.

Ray says of such an actor `OutOfMemoryError`, which is no `RayActorError`. While an actor is being made Tune takes that well;
in the middle of a step, by its source (`ActorManager._actor_task_failed`), it takes it for a bug of its own and ends the
whole search with "Caught unexpected exception". To Tune it shall be what it is, an actor that died.
"""

from __future__ import annotations

from typing import Any

from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller

DEATHS = (RayActorError, OutOfMemoryError)


def count_memory_kills_as_deaths() -> None:
    """Where Tune asks `isinstance(error, RayActorError)`, have it ask for both; nothing where these names have changed."""
    module: Any
    for module in (actor_manager, tune_controller):
        if getattr(module, "RayActorError", None) is RayActorError:
            module.RayActorError = DEATHS
