# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The release that results in docs/ were measured with. A machine with a GPU may set TORCH=torch.
TORCH ?= torch==2.13.0
# A process that may not keep compiled modules compiles eight seconds' worth of them at each start.
export PYTHONDONTWRITEBYTECODE :=
# A set of releases that is known to work; empty for the newest ones.
CONSTRAINTS ?= constraints/tested.txt
PINS := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# Modules are compiled when they are first imported: most never are.
QUICKLY := -qq --no-compile
# What a developer needs; `test` is without the checkers.
EXTRA ?= dev
# The ends of the range of libraries, each with an environment of its own.
OLDEST := VENV=.venv-oldest CONSTRAINTS=constraints/oldest.txt EXTRA=test
NEWEST := VENV=.venv-newest CONSTRAINTS= EXTRA=test
# Tests that meet transformers, peft and the command line in earnest.
SMOKE := $(addprefix tests/unit/test_,warnings.py chat.py engine_local.py engine_checkpoint.py train_mathematics.py \
	train_adapters.py train_reward.py scorer_armorm.py scorer_pairrm.py seeds.py)

.PHONY: demo docs release axe laboratory test test-slow test-oldest test-newest smoke smoke-oldest smoke-newest environments installed \
	installed-oldest installed-newest constraints check format clean

demo: $(VENV)/installed
	$(BIN)/selfboost run demo --into runs/demo

test: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m pytest tests -m "not slow" -n 2

# README and docs/ as a site that needs no network: open build/site/index.html. A broken link is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m tools.site

# VERSION=0.2.0 names it; DRY_RUN=1 says what would happen and changes nothing. docs/releasing.md.
release: $(VENV)/installed-dev
	$(BIN)/python -m tools.release $(if $(DRY_RUN),--dry-run) $(VERSION)

# SOAK_KILLS=1000 makes the soak longer; CAMPAIGN_SEED=1 tries other bad values, damages and moments.
test-slow: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m pytest tests -m slow

# For tests/unit/test_axe.py, which `make test-slow` leaves out without it; needs npm and Chromium.
axe:
	npm install --no-save --no-package-lock --silent axe-core@4
	$(BIN)/python -m pytest tests/unit/test_axe.py

test-oldest:
	$(MAKE) test $(OLDEST)

test-newest:
	$(MAKE) test $(NEWEST)

smoke: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m pytest $(SMOKE) -n 2

smoke-oldest:
	$(MAKE) smoke $(OLDEST)

smoke-newest:
	$(MAKE) smoke $(NEWEST)

# All that `.ci/run` needs, made side by side by `make -j3 environments`.
environments: installed installed-oldest installed-newest

installed: $(VENV)/installed-$(EXTRA)

installed-oldest:
	$(MAKE) installed $(OLDEST)

installed-newest:
	$(MAKE) installed $(NEWEST)

# Every table and figure of docs/laboratory.md: a night on two cores; a killed one goes on.
laboratory: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m benchmarks.noise_regimes --into runs/noise-regimes
	$(BIN)/python -m benchmarks.laboratory --into runs/laboratory --seeds 0 1 2 3 4

# The newest releases, once everything passes on them, become the tested ones.
constraints:
	rm -rf .venv-newest
	$(MAKE) check test docs $(NEWEST) EXTRA=dev
	( echo '# What `make test` runs on; written by `make constraints`. PyTorch stands in the Makefile (TORCH).'; \
	  .venv-newest/bin/python -m pip freeze --exclude-editable | grep -vE '^(torch|triton|nvidia-|cuda-)' \
	) > constraints/tested.txt

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/contracts/test_budgets.py

format: $(VENV)/installed-dev
	$(BIN)/ruff format src tests benchmarks tools
	$(BIN)/ruff check --fix src tests benchmarks tools

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist runs .ruff_cache .hypothesis

# torch first and pinned: anything else would pull the newest build with gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("selfboost needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install $(QUICKLY) $(PINS) $(TORCH)
	$(BIN)/python -m pip install $(QUICKLY) $(PINS) --editable .
	touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(BIN)/python -m pip install $(QUICKLY) $(PINS) --editable ".[$*]"
	touch $@
