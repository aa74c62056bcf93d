"""One file per question. `python -m search.run --list` prints them."""
