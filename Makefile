.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

quickstart: $(VENV)/.installed ## train and score a small scSE U-Net on drawn images (about 3 minutes)
	$(BIN)/python train.py --config configs/quickstart.yaml --evaluate test

test: $(VENV)/.installed-dev ## run the test suite
	$(BIN)/python -m pytest -n auto

test-storm: $(VENV)/.installed-dev ## kill a training run ten times and compare it with a quiet one (about 3 minutes)
	$(BIN)/python tests/storm/storm.py --kills 10

check: lint test ## everything a commit must pass

lint: $(VENV)/.installed-dev ## format, lint, types, layer order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev ## measure the scSE block and the train step
	$(BIN)/python benchmarks/train_step.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/.installed

.PHONY: help quickstart test test-storm check lint format bench
