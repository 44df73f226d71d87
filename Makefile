# `make demo` and `make test` do all the set-up themselves: a virtual environment from the
# locked dependencies, and the system's OpenSSH client where it is missing.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# A captured `marketplace` body, where one is at hand, and the documents of the service.
export CLORE_INVENTORY ?= $(abspath $(firstword $(wildcard ../shared/data/marketplace-*.json)))
export CLORE_DOCUMENTS ?= $(abspath $(firstword $(wildcard ../shared/documents)))

# Hundreds of Python processes start in a test run: what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint sync types tests soak lowest pythons bench lock clean help

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY)  ## Rent a GPU end to end on the local marketplace
	@sh tools/need.sh ssh:openssh-client ssh-keygen:openssh-client
	@$(BIN)/clore demo

test: lint types tests  ## Everything CI checks

lint: $(READY)  ## ruff and both walls of the design
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/lint-imports --no-logo > .venv/imports.log || { cat .venv/imports.log; exit 1; }

sync: $(READY)  ## Generate the blocking client from the asyncio one
	@$(BIN)/python tools/unasync.py

# Both at once: each uses one core.
types: $(READY)  ## mypy and pyright, both strict
	@$(BIN)/mypy & mypy=$$!; PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright; pyright=$$?; \
	  wait $$mypy && exit $$pyright

# Every worker of pytest would compile the tests; after the set-up they are compiled once.
$(VENV)/.compiled: $(READY)
	@$(BIN)/pytest --collect-only -qq > /dev/null || true
	@touch $@

tests: $(VENV)/.compiled  ## The test-suite; ARGS="-k name" narrows it
	@sh tools/need.sh ssh:openssh-client scp:openssh-client sftp:openssh-client rsync:rsync tmux:tmux curl:curl ps:procps git:git
	@sh tools/need.sh busybox:busybox-static bwrap:bubblewrap setpriv:util-linux python3:python3 /usr/lib/openssh/sftp-server:openssh-sftp-server || echo "The tests that need them are skipped." >&2
	@$(BIN)/pytest -n 6 --dist worksteal $(ARGS)

soak: $(READY)  ## 20,000 random schedules of faults and stops, 500 of clore run, 35,000 Ctrl-C, long tables (an hour)
	@sh tools/need.sh ssh:openssh-client rsync:rsync tmux:tmux
	@$(BIN)/pytest -n 4 --dist worksteal -m exhaustive
	@for first in 0 2000 4000 6000 8000 10000 12000 14000 16000 18000; do \
	  $(BIN)/python -m tests.schedules --runs 2000 --seed $$first $(ARGS) || exit 1; done
	@$(BIN)/python -m tests.run_schedules --runs 500
	@$(BIN)/python -m tests.interrupts --rounds 5000

lowest: $(READY)  ## The SDK's tests with the oldest libraries that pyproject.toml allows
	@sh tools/need.sh ssh:openssh-client
	@$(PYTHON) -m venv --clear .cache/lowest
	@$(BIN)/python tools/lowest.py > .cache/lowest/bounds.txt
	@.cache/lowest/bin/pip install -q --disable-pip-version-check -c .cache/lowest/bounds.txt -e '.[sandbox]' \
	  hypothesis pytest pytest-randomly pytest-timeout pytest-xdist
	@.cache/lowest/bin/pytest -n 2 -q tests/clore_ai tests/clore_client $(ARGS)

PYTHONS ?= bullseye trixie sid
pythons: $(READY)  ## Every command once on Debian's 3.9, 3.13 and 3.14 (as root); PYTHONS="/usr/bin/python3.12" for others
	@sh tools/need.sh ssh:openssh-client
	@case " $(PYTHONS)" in *" "[a-z]*) sh tools/need.sh debootstrap:debootstrap bwrap:bubblewrap;; esac
	@$(BIN)/python -m tests.pythons $(PYTHONS)

bench: $(READY)  ## The figures, side by side with PyPI's clore-ai 0.1.1 (12 minutes); ARGS="--only rent" measures one
	@sh tools/need.sh ssh:openssh-client
	@sh tools/need.sh wrk:wrk rsync:rsync bwrap:bubblewrap setpriv:util-linux initdb:postgresql || echo "The figures that need them are not run." >&2
	@$(BIN)/python -m bench $(ARGS)

$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "The development set-up needs Python 3.10 or newer; this is `$(PYTHON) --version`. Try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)…" >&2
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock:  ## Update requirements/dev.txt (needs uv)
	uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.10 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  --no-emit-package clore-ai -q -o requirements/dev.txt

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
