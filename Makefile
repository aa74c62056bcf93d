# Arbor's commands. `make` alone prints them.
#
#   make search     set-up, then the main job on the embedded data set: python -m search.run
#                   (ARGS="fff_vs_dense --trials 24" are passed on)
#   make test       set-up, then the tests, without the slow ones and those that need a GPU
#   make test-slow  set-up, then the slow tests
#   make check      set-up, then check-format, lint, types and layers (targets of their own), which change nothing
#   make docs       set-up, then the documentation site, strictly, into site/ (open site/index.html)
#   make format     set-up, then formats the code and mends what the linter can mend
#   make setup      set-up alone: .venv with the versions of constraints.txt; done once, then skipped
#   make clean      removes caches and build folders; keeps .venv and runs/
#
# PYTHON=python3.12 chooses the interpreter for the set-up (3.11 or 3.12), TESTS=tests/search the tests.

PYTHON ?= python3
TESTS ?=
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.complete
UNFINISHED := $(VENV)/.unfinished

# One thread for torch in the tests: small models are faster with it, and several trials run beside each other.
# A test process for each core, up to 8: each loads torch. ARGS="-n 0" puts all into one, as --pdb needs.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest $(TESTS) -n logical --maxprocesses 8 --dist worksteal

.PHONY: help setup search test test-slow check check-format lint types layers format docs clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

# The stamp carries the time at which its set-up began: a later run compares with it and takes no pip.
# The rule is one shell that holds a lock on the Makefile: a second `make` waits, also for the pip of a killed one.
# $(UNFINISHED) stays only where a set-up was killed: nothing in that .venv can be trusted, so it is made anew.
# A .venv that somebody else made is completed, not replaced.
$(STAMP): pyproject.toml constraints.txt
	@set -eu; trap 'exit 130' INT TERM HUP; \
	exec 9<Makefile; flock 9 2>/dev/null || true; \
	if [ -e $(STAMP) ] && [ $(STAMP) -nt pyproject.toml ] && [ $(STAMP) -nt constraints.txt ]; then exit 0; fi; \
	if [ -e $(UNFINISHED) ]; then \
	    echo "An earlier set-up was cut off; making $(VENV) anew."; rm -rf $(VENV); \
	fi; \
	if ! $(RUN) -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || { \
	        echo "Error: Arbor needs Python 3.11 or 3.12, but $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there);" \
	             "name another one, as in: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12" >&2; exit 2; }; \
	    $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	        echo "Error: $(PYTHON) must have the modules venv and ensurepip, but lacks them;" \
	             "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }; \
	    echo "Making $(VENV) with $$($(PYTHON) --version)."; \
	    mkdir -p $(VENV); touch $(UNFINISHED); $(PYTHON) -m venv $(VENV); \
	fi; \
	rm -f $(STAMP); touch $(UNFINISHED); \
	echo "Installing Arbor and what it needs into $(VENV) (3 to 4 minutes, 3 GB, the first time)."; \
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' || { \
	    rm -f $(UNFINISHED); echo "Error: pip could not install what Arbor needs; its reason is above." >&2; exit 2; }; \
	mv $(UNFINISHED) $(STAMP)

search: setup
	@$(RUN) -m search.run $(ARGS)

test: setup
	$(PYTEST) -m "not slow and not long and not gpu" $(ARGS)

test-slow: setup
	$(PYTEST) -m "slow and not long and not gpu" $(ARGS)

check: check-format lint types layers

check-format: setup
	$(RUN) -m ruff format --check

lint: setup
	$(RUN) -m ruff check

types: setup
	$(RUN) -m mypy

layers: setup
	$(VENV)/bin/lint-imports --no-logo

format: setup
	$(RUN) -m ruff format
	$(RUN) -m ruff check --fix

docs: setup
	$(RUN) docs/generate.py
	$(VENV)/bin/zensical build --strict

clean:
	rm -rf build dist site .cache *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
