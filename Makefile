PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-engines lint check format docs

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/rdl: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rdl needs Python 3.11 or later; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(BIN)/rdl  ## make the environment and run the four verbs on embedded digits
	$(BIN)/rdl demo

test: $(BIN)/rdl  ## run the tests, but those marked slow
	$(BIN)/python -m pytest -m "not slow" --durations=10

test-fast: $(BIN)/rdl  ## run the tests of the mathematics, the stores and the files
	$(BIN)/python -m pytest -m "not slow" tests/core tests/rsa tests/statistics tests/store tests/runs

test-slow: $(BIN)/rdl  ## run slow tests, the documentation's code, faults at every kind of call
	$(BIN)/python -m pip install --quiet --editable '.[test,docs]'
	$(BIN)/python -m pytest -m slow --durations=10
	$(BIN)/python -m pytest tests/docs tests/reliability --durations=10

test-engines: $(BIN)/rdl  ## run recipes on real engines: processes, Dask, Slurm, torchrun
	$(BIN)/python -m pip install --quiet --editable '.[test,dask,slurm]'
	$(BIN)/python -m pytest tests/engines --durations=10

lint: $(BIN)/rdl  ## check format, style, types, layers and words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python tests/check_words.py

check: lint test  ## run lint and test

format: $(BIN)/rdl  ## mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(BIN)/rdl  ## build the documentation site in docs/_build
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build
