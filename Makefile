# make demo, make test, make docs: each sets up what it needs, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
OUT ?= demo
SHELL := /bin/bash

.PHONY: help setup test lint check demo docs clean

help:
	@echo "make demo   a porous electrode made, imaged, segmented and scored; opens in $(OUT)/report.html"
	@echo "make test   style, types, architecture, tests and docs: what continuous integration runs"
	@echo "make docs   the manual, in docs/_build/html"
	@echo "make clean  remove the environment and everything built"

setup: $(READY)

$(READY): pyproject.toml constraints.txt tools/system_packages.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed; found '$(PYTHON)'. Install it or call: make PYTHON=/path/to/python3.11"; exit 2; }
	PYTHON="$(PYTHON)" bash tools/system_packages.sh
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[blender,cluster,dev,docs,pictures,porespy,taufactor]'
	@touch $(READY)

test: $(READY) lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile
	$(MAKE) --no-print-directory docs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: $(READY)
	$(BIN)/poreforge demo --out $(OUT)

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv docs/_build docs/api build dist *.egg-info
