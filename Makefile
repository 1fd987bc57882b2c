.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONSAFEPATH  # with it Python does not find the modules of this folder
unexport PYTHONDONTWRITEBYTECODE  # without byte code every stage compiles its libraries anew: twice the time

ifeq ($(shell uname -s),Linux)
PACKAGES := about 2.7 GB of packages, among them PyTorch with CUDA, into .venv (6.5 GB): 4 minutes at 100 Mbit/s
else
PACKAGES := the pinned packages into .venv
endif

.PHONY: help install install-scale quickstart test test-faults test-scale postgresql lint bench ui clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

install: .venv/installed  ## .venv with the pinned requirements

.venv/installed: requirements.lock
	@echo "Downloading and installing $(PACKAGES)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements.lock
	@touch $@

install-scale: .venv-scale/installed  ## .venv-scale: the same, and what many machines need (docs/scale)

.venv-scale/installed: requirements-scale.lock .venv/installed
	@test -x .venv-scale/bin/python || $(PYTHON) -m venv .venv-scale
	@.venv/bin/uv pip sync --python .venv-scale/bin/python --require-hashes requirements-scale.lock
	@touch $@

quickstart:  ## the whole pipeline on generated images, on the CPU
	@echo "Quickstart: installs the packages if .venv lacks them, then runs the whole pipeline on generated images"
	@echo "(no data to download; 1 to 3 minutes on 2 cores)"
	@$(MAKE) --no-print-directory --silent install
	@python -m recipes quick
	@python -m commands.summary

test: install lint  ## format, lint, types and tests (5 minutes; 8 on CPUs without AVX-512)
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not scale"

test-faults: install  ## what takes longer: kills, servers that hang, full disks, parallel runs (15 to 20 minutes)
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -o faulthandler_timeout=2400 -m "slow and not scale"

test-scale: install-scale postgresql  ## many devices and machines, played by this one (20 minutes; an hour on CPUs without AVX-512)
	@PATH="$(CURDIR)/.venv-scale/bin:$$PATH" python -m pytest -o faulthandler_timeout=2400 -m scale

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -y -q postgresql; \
	} || { echo "PostgreSQL is needed: install it with your system's packages (Debian: apt-get install postgresql)"; exit 1; }

lint: install
	@ruff format --check .
	@ruff check .
	@mypy

bench: install  ## measure the speed on this CPU (10 minutes, nothing else may run) for docs/explanation/performance.md
	@python -m benchmarks.cpu
	@python -m benchmarks.document

ui: install  ## MLflow UI on 127.0.0.1 (PORT=5000)
	@python -m commands.ui --port $(PORT)

clean:  ## delete data, models, figures and reports of this workspace; DVC's cache and MLflow stay
	rm -rf data models figures reports
