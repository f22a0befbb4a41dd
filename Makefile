# Everything a developer runs. Needs make and Python 3.11 or newer; nothing is installed outside .venv/.
#
#   make demo     the reference application on http://127.0.0.1:8000      HOST=, PORT=
#   make test     all tests                                               ARGS="tests/test_x.py -k y", COVERAGE=1
#   make lint     ruff, mypy, import-linter
#   make docs     the documentation site, into site/
#   make bench    the benchmark table
#   make format   ruff's fixes and its formatter
#   make lock     write requirements/*.txt again                          UPGRADE=1
#   make lowest   the tests on the oldest dependencies that pyproject.toml allows
#   make clean    remove what this file has made

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules
.SUFFIXES:

HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
UV := $(VENV)/tools/bin/uv
DEV := $(VENV)/dev
DEMO := $(VENV)/demo
BIN := $(DEV)/bin
# One for each processor: more would make tests late that measure time, and each takes up to a gigabyte.
PYTEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); if [ "$$n" -lt 2 ]; then echo 2; elif [ "$$n" -gt 6 ]; then echo 6; else echo "$$n"; fi)

export UV_NO_PROGRESS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Only what the locks say: no configuration of the developer's machine, no interpreter fetched from elsewhere.
export UV_NO_CONFIG := 1
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= copy
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help
help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

# ------------------------------------------------------------------------------------------- environments

# Stamps carry the hash of what they were made from, so a changed lock, a touched file or a switched branch does the
# right thing, and an unchanged one costs nothing.
stamp = $(VENV)/$(1)-$(shell cat requirements/$(1).txt pyproject.toml scripts/bootstrap.sh 2>/dev/null | cksum | tr ' ' -).stamp

DEV_STAMP := $(call stamp,dev)
DEMO_STAMP := $(call stamp,demo)

$(DEV_STAMP):
	@PYTHON="$(PYTHON)" sh scripts/bootstrap.sh dev $(DEV) $@

$(DEMO_STAMP):
	@PYTHON="$(PYTHON)" sh scripts/bootstrap.sh demo $(DEMO) $@

.PHONY: env
env: $(DEV_STAMP)

# -------------------------------------------------------------------------------------------------- running

.PHONY: demo
demo: $(DEMO_STAMP)
	@exec env HOST=$(HOST) PORT=$(PORT) $(DEMO)/bin/python -m examples.research_agents.demo

.PHONY: test
test: $(DEV_STAMP)
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(if $(COVERAGE),--cov --cov-report=term) $(ARGS)

.PHONY: lint
lint: $(DEV_STAMP)
	@# All four, whatever the first one finds.
	@status=0; \
	for command in "ruff check ." "ruff format --check ." "mypy" "lint-imports --no-logo"; do \
		echo "$$command"; $(BIN)/$$command || status=1; \
	done; exit $$status

.PHONY: format
format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(DEV_STAMP)
	@# Not --quiet: it takes the warnings away before --strict can count them.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "docs: site/index.html"

.PHONY: bench
bench: $(DEV_STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(if $(ARGS),true,$(BIN)/python -m benchmarks.limits)
	@$(if $(ARGS),true,$(BIN)/python -m benchmarks.ledger)

# ---------------------------------------------------------------------------------------------------- locks

COMPILE = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock:
	@PYTHON="$(PYTHON)" sh scripts/bootstrap.sh tools
	@mkdir -p requirements
	$(COMPILE) --output-file requirements/core.txt
	$(COMPILE) --extra jwt --extra server --group demo --output-file requirements/demo.txt
	$(COMPILE) --all-extras --group dev --output-file requirements/dev.txt

.PHONY: lowest
lowest:
	@PYTHON="$(PYTHON)" sh scripts/lowest.sh $(ARGS)

.PHONY: clean
clean:
	rm -rf $(VENV) build dist site .data .coverage .coverage.* htmlcov coverage.xml
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
