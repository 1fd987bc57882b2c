.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # without byte code every stage compiles its libraries anew: twice the time

.PHONY: help install quickstart test test-faults scale test-scale lint bench ui clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

install: .venv/installed  ## .venv with the pinned requirements

.venv/installed: requirements.lock
	@echo "Installing into .venv (PyTorch with CUDA: about 6 GB on disk)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements.lock
	@touch $@

quickstart: install  ## the whole pipeline on generated images, on the CPU, without a download
	@python -m recipes quick
	@python -m commands.summary

test: install lint  ## format, lint, types and tests (3 minutes)
	@python -m pytest -n 2 --dist loadfile -m "not slow"

test-faults: install  ## what takes longer: kills, servers that hang, full disks, parallel runs (at most 12 minutes)
	@python -m pytest -n 2 --dist loadfile -m "slow and not scale"

scale: .venv-scale/installed  ## .venv-scale: .venv and what many machines need (docs/scale.md)

.venv-scale/installed: requirements-scale.lock .venv/installed
	@test -x .venv-scale/bin/python || $(PYTHON) -m venv .venv-scale
	@.venv/bin/uv pip sync --quiet --python .venv-scale/bin/python --require-hashes requirements-scale.lock
	@touch $@

test-scale: scale  ## many trainings over many machines, on this one (20 minutes)
	@PATH="$(CURDIR)/.venv-scale/bin:$$PATH" python -m pytest -m scale

lint: install
	@ruff format --check .
	@ruff check .
	@mypy

bench: install  ## measure the speed on this CPU (10 minutes, nothing else may run) for docs/performance.md
	@python -m benchmarks.cpu
	@python -m benchmarks.document

ui: install  ## MLflow UI on 127.0.0.1 (PORT=5000)
	@python -m commands.ui --port $(PORT)

clean:  ## delete data, models, figures and reports of this workspace; DVC's cache and MLflow stay
	rm -rf data models figures reports
