# `make demo`, `make test` and `make check` need only make and Python 3.10 or newer: the first of them
# sets up .venv with the versions pinned in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: demo test check clean

demo: $(STAMP)
	@$(BIN)/python -m benchmarks.demo

test: $(STAMP)
	@$(BIN)/python -m pytest

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	@echo "[1/3] virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] torch and torchvision, pinned (the large part: minutes)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt torch torchvision
	@echo "[3/3] the other packages, and nvcodec itself"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[bench,dev]'
	@touch $(STAMP)
