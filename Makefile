.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONSAFEPATH  # with it Python does not find the modules in this folder
unexport PYTHONDONTWRITEBYTECODE  # without byte code every stage compiles its libraries again, which doubles its start

ifeq ($(shell uname -s),Linux)
PACKAGES := about 2.7 GB of packages, including PyTorch with CUDA, into .venv (6.5 GB). This takes 4 minutes at 100 Mbit/s
else
PACKAGES := the pinned packages into .venv
endif

.PHONY: help install install-scale quickstart test test-faults test-scale postgresql lint bench ui clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

install: .venv/installed  ## create .venv with the pinned requirements

.venv/installed: requirements.lock
	@echo "Downloading and installing $(PACKAGES)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required. Choose one with: make PYTHON=python3.11 ...")'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements.lock
	@touch $@

install-scale: .venv-scale/installed  ## create .venv-scale, which also has the packages for many machines (docs/scale)

.venv-scale/installed: requirements-scale.lock .venv/installed
	@test -x .venv-scale/bin/python || $(PYTHON) -m venv .venv-scale
	@.venv/bin/uv pip sync --python .venv-scale/bin/python --require-hashes requirements-scale.lock
	@touch $@

quickstart:  ## install, then run the whole pipeline on generated images on the CPU
	@echo "Quickstart: installs the packages if .venv lacks them, then runs the whole pipeline on generated images"
	@echo "(no data set to download; the pipeline takes 1 to 3 minutes on 2 cores)"
	@$(MAKE) --no-print-directory --silent install
	@python -m recipes quick
	@python -m commands.summary

test: install lint  ## check format, lint and types, and run the tests (5 minutes, or 8 on CPUs without AVX-512)
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not scale"

test-faults: install  ## run the longer tests of kills, hanging servers, full disks and parallel runs (15 to 20 minutes)
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -o faulthandler_timeout=2400 -m "slow and not scale"

test-scale: install-scale postgresql  ## run the tests of many devices and machines on this machine (20 minutes, or an hour without AVX-512)
	@PATH="$(CURDIR)/.venv-scale/bin:$$PATH" python -m pytest -o faulthandler_timeout=2400 -m scale

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -y -q postgresql; \
	} || { echo "PostgreSQL is missing. Install it with your system's packages (Debian: apt-get install postgresql)"; exit 1; }

lint: install
	@ruff format --check .
	@ruff check .
	@mypy

bench: install  ## measure the speed on this CPU (10 minutes, run nothing else) and update docs/explanation/performance.md
	@python -m benchmarks.cpu
	@python -m benchmarks.document

ui: install  ## open the MLflow UI on 127.0.0.1 (PORT=5000)
	@python -m commands.ui --port $(PORT)

clean:  ## delete data, models, figures and reports of this workspace, but not DVC's cache and MLflow's runs
	rm -rf data models figures reports
