"""Timings of whole commands and epochs, each beside its references in the same run. `python -m benchmarks` lists them."""
