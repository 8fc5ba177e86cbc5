# `make` lists the targets. Everything runs in a virtual environment of its own, made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS_STAMP := $(VENV)/.installed-extras

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-extras reports new-reports docs docs-data lint wheel-check bench legality fuzz faults clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

venv: $(STAMP)  ## Make the virtual environment, with exact versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pimsim needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(EXTRAS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev,all]'
	@touch $@

demo: $(STAMP)  ## Reproduce the figures of PIM-SHERPA under out/pim-sherpa
	$(BIN)/pimsim reproduce pim-sherpa --out out/pim-sherpa

test: $(STAMP)  ## Run the tests
	$(BIN)/python -m pytest -q -n auto

test-extras: $(EXTRAS_STAMP)  ## Run the tests that need optional dependencies
	$(BIN)/python -m pytest -q -n auto -m extra

reports: $(STAMP)  ## Compare the stored reports that take long with new runs of their experiments
	$(BIN)/python -m pytest -q -n auto -m slow

new-reports: $(STAMP)  ## Run all experiments and store their reports beside the scripts
	mkdir -p out
	for group in facil face flexiq gaze overview pim-sherpa what-if; do \
	  $(BIN)/pimsim reproduce $$group --out out/$$group > out/$$group.txt || exit 1; \
	  for report in out/$$group/*/report.txt; do \
	    name=$$(basename $$(dirname $$report)); \
	    cp $$report experiments/$$(echo $$group/$$name | tr - _).txt; \
	  done; \
	done

docs: $(EXTRAS_STAMP)  ## Build the documentation as a site under out/site, warnings are errors
	$(BIN)/python -m mkdocs build --strict

docs-data: $(EXTRAS_STAMP)  ## Make figures, notebook and validation tables of the documentation again
	$(BIN)/python docs/make_figures.py
	$(BIN)/python docs/make_notebook.py
	$(BIN)/python docs/make_validation.py

lint: $(STAMP)  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel-check: $(STAMP)  ## Build source archive and wheel, and use the wheel in a new environment
	$(BIN)/python tests/check_wheel.py

bench: $(STAMP)  ## Measure how fast the simulator runs; writes benchmarks/results*.md
	$(BIN)/python -m pytest -q -s -m bench
	$(BIN)/python benchmarks/dram_speed.py
	$(BIN)/python benchmarks/pim_speed.py
	$(BIN)/python benchmarks/npu_speed.py
	$(BIN)/python benchmarks/cache_speed.py
	$(BIN)/python benchmarks/sweep_speed.py
	$(BIN)/python benchmarks/timeline_speed.py

legality: $(STAMP)  ## Audit 10^8 commands of all parts and controllers; writes benchmarks/legality.md
	$(BIN)/python benchmarks/dram_legality.py

fuzz: $(EXTRAS_STAMP)  ## Damaged files for every reader, an hour; writes benchmarks/fuzzing.md
	$(BIN)/python benchmarks/fuzz_readers.py --minutes 60

faults: $(STAMP)  ## Kill, fill up and damage sweeps and their stores; prints what held
	$(BIN)/python benchmarks/sweep_faults.py

clean:  ## Remove everything that was built
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
