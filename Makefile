# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The release that results in docs/ were measured with. A machine with a GPU may set TORCH=torch.
TORCH ?= torch==2.13.0

.PHONY: demo test test-slow check format clean

demo: $(VENV)/installed
	$(BIN)/selfboost run demo --into runs/demo

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests -m "not slow" -n 2

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests -m slow

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/contracts/test_budgets.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) runs .ruff_cache .hypothesis

# torch first and pinned: anything else would pull the newest build with gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("selfboost needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
