"""Models and their search spaces (torch only).

`ModelConfig` describes and builds a model, `FFN` holds the feed-forward kinds, `Scope` is what a kind's `suggest` draws
from. `arch_space.initialise.initialise` starts a model from a seed; `arch_space.cost.cost` prices one without building it.
"""

from arch_space.model import ModelConfig
from arch_space.registry import FFN, FeedForwardConfig
from arch_space.space import RandomScope, Scope, prefixed

__all__ = ["FFN", "FeedForwardConfig", "ModelConfig", "RandomScope", "Scope", "prefixed"]
