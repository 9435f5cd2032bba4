PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint check format

$(BIN)/rdl: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rdl needs Python 3.11 or later; say PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(BIN)/rdl
	$(BIN)/rdl demo

test: $(BIN)/rdl
	$(BIN)/python -m pytest

lint: $(BIN)/rdl
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(BIN)/rdl
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
