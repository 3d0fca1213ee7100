# fedklpr-flwr: `make` shows what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Flower: nothing is downloaded at run time, nothing is reported, nothing is checked for updates.
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help install run test test-root test-fast check bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with everything: simulation, report and development extras

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[simulation,report,data,fast,privacy,tight,export,serve,browser,sweep,dev]'
	@touch $@

run: $(STAMP) ## the main job: eight drawn sites, ten rounds, on Flower's engine
	$(BIN)/fedklpr run experiment=drawn

# Each worker computes with one thread; a file's tests stay together, for the sake of its fixtures.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## all tests, slow ones included
	$(BIN)/pytest -m "not gpu and not root" $(SIDE_BY_SIDE) --durations=100 --durations-min=5

test-root: $(STAMP) ## what containers do, tried in bare root file systems: as root, some five minutes
	$(BIN)/pytest -m root

test-fast: $(STAMP) ## the fast tests alone
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: $(STAMP) ## ruff, mypy, and the architecture test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py

bench: $(STAMP) ## the benchmarks
	$(BIN)/python -m experiments.benchmarks

clean: ## remove what make and the tests made; runs/ is kept
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
