# `make demo` and `make test` do all their own set-up: Python 3.11+ and make are enough.
# PYTHON=/path/to/python chooses the interpreter, VENV=DIR the place of the environment,
# PYTEST_ARGS='-k name' what `make test` runs, WORKERS=N in how many processes at a time: a third of the tests' time is waiting.

VENV ?= .venv
PYTHON ?=
WORKERS ?= 3
PYTEST_ARGS ?=
STORM_KILLS ?= 10000
STORM_SEED ?=
STORM_DATABASE ?= sqlite
FUZZ_SECONDS ?= 60
MUTANTS ?= 0
MUTANTS_SEED ?= 1

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
FUZZ_INSTALLED := $(VENV)/.installed-fuzz

# The tests start thousands of processes, each of which would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test faults storm mutation fuzz check docs bench lock wheel clean

help:
	@echo 'make demo    agents survive the kill of their coordinator, shown on real processes'
	@echo 'make setup   install what the others need into .venv'
	@echo 'make test    format, lint, types, documents, then every test'
	@echo 'make check   the first half of that, without the tests'
	@echo 'make faults  every fault that is injected in part by `make test`, in full: three hours or more'
	@echo 'make storm   10,000 kills at random of everything (STORM_KILLS=N, STORM_SEED=S: one again, STORM_DATABASE=postgres)'
	@echo 'make mutation  small mistakes put into the decisions, which the fast tests must notice (MUTANTS=N: a sample)'
	@echo 'make fuzz    whatever readers may be given, guided by coverage (FUZZ_SECONDS=N for each of them)'
	@echo 'make docs    write the generated documents'
	@echo 'make bench   outlive beside other process managers'
	@echo 'make wheel   dist/*.whl and the source archive'
	@echo 'make lock    write requirements.lock anew'
	@echo 'make clean   remove what the others made'

setup: $(INSTALLED)

demo: $(INSTALLED)
	@$(RUN) -I -m manager.demo

test: check
	@$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# A part is run whole: also what `make test` runs of it.
faults: $(INSTALLED)
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m $(if $(PYTEST_ARGS),'faults or not faults',faults) $(PYTEST_ARGS)

storm: $(INSTALLED)
	@$(RUN) -m tests.faults.storm --kills $(STORM_KILLS) --database $(STORM_DATABASE) --workers $(WORKERS) $(if $(STORM_SEED),--seed $(STORM_SEED))

mutation: $(INSTALLED)
	@$(RUN) -m tests.mutation --mutants $(MUTANTS) --seed $(MUTANTS_SEED) --workers $(WORKERS)

fuzz: $(FUZZ_INSTALLED)
	@$(RUN) -m tests.fuzz --seconds $(FUZZ_SECONDS)

check: $(INSTALLED)
	@$(RUN) -m ruff format --check --quiet . || { echo 'not formatted: run $(RUN) -m ruff format .' >&2; exit 1; }
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --strict
	@$(RUN) -m docs.generate --check

docs: $(INSTALLED)
	@$(RUN) -m docs.generate

bench: $(BENCH_INSTALLED)
	@$(RUN) -m benchmarks

wheel: $(INSTALLED)
	@$(RUN) -m build --no-isolation --outdir dist .

# No registry address, path or option of the machine that writes it may stay in the lock.
lock: $(RUN)
	@$(PIP) install 'pip-tools>=7.6,<8'
	@echo '# Every package that outlive, its tests and its linters need, with hashes. Written by `make lock`.' \
	    > requirements.lock.new
	@$(RUN) -m piptools compile --quiet --upgrade --extra dev --generate-hashes --strip-extras --allow-unsafe \
	    --no-header --no-annotate --no-emit-options --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --output-file - pyproject.toml >> requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis requirements.lock.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): $(RUN) pyproject.toml requirements.lock
	@echo 'installing into $(VENV) …'
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	@$(PIP) install 'supervisor>=4.3,<5' 'circus>=0.19,<0.20' 'eventsourcing[postgres]>=9.5,<10' # the extra `bench`
	@! command -v npm > /dev/null || npm install --silent --no-fund --no-audit --prefix $(VENV)/pm2 'pm2@7' \
	    || echo 'cannot install pm2: see above; it will be left out'
	@touch $@

$(FUZZ_INSTALLED): $(INSTALLED)
	@$(PIP) install 'atheris>=3,<4' # the extra `fuzz`
	@touch $@

# A `python3` may be older than it should be, a shim that runs nothing, or lack venv (Debian): try each.
$(RUN):
	@set -eu; without_venv=; \
	for candidate in $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3 python); do \
	    "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    if ! "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
	        without_venv=$${without_venv:-$$candidate}; continue; \
	    fi; \
	    "$$candidate" -m venv '$(VENV)'; exit 0; \
	done; \
	if [ -n "$$without_venv" ]; then \
	    version=$$("$$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "cannot create $(VENV): $$without_venv has no venv module;" \
	        "on Debian and Ubuntu: apt-get install python$$version-venv" >&2; \
	else \
	    echo 'cannot create $(VENV): $(if $(PYTHON),$(PYTHON) is not,found no) Python 3.11 or newer;' \
	        'install one, or name it: make PYTHON=/path/to/python' >&2; \
	fi; exit 1
