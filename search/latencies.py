"""The second objective `latency_seconds`: measured by the driver when a trial is made, and kept for its equals.

One machine measures all trials of a search, and a variant that the store knows from this processor is not measured again:
latencies of one table compare with each other. They do not compare with those of another processor.
"""

from __future__ import annotations

import hashlib
import json

import torch

from results.store import Store
from trainer.config import TrialConfig
from trainer.fingerprint import cpu_name, source_hash, variant_source
from trainer.latency import latency_seconds

LATENCY = "latency_seconds"


def latency_of(store: Store, config: TrialConfig) -> float:
    """Seconds for one image on one CPU thread of this machine, from the store or measured now (half a second)."""
    parts = [
        LATENCY,
        sorted(config.model.to_flat().items()),
        variant_source(type(config.model.ffn)),
        source_hash(),
        torch.__version__,
        cpu_name(),
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    known = store.measurement(key)
    if known is not None:
        return float(known[1][LATENCY])
    seconds = latency_seconds(config.model)
    store.keep_measurement(key, {LATENCY: seconds})
    return seconds
