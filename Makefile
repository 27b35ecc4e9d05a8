# Two commands do everything from a clean clone: `make demo` and `make test`.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
PYTEST := $(PY) -m pytest -q
NATIVE := $(shell find native -name '*.c' -o -name '*.h' -o -name '*.pyx' 2>/dev/null) native/codes.py
PROTO := $(wildcard clearspan/v1/*.proto relay/v1/*.proto)
PART ?= all
SEEDS ?= 0:200
BUDGET ?= 30
PYTEST_ARGS ?=

.PHONY: help demo test check bench simulate fuzz portable nightly lock docs clean build

help:  ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements/dev.txt
	@python=$$(.ci/preflight) || exit 2; \
	echo "clearspan: setting up $(VENV) (once)"; \
	[ -x $(PY) ] || $$python -m venv $(VENV) || exit 2; \
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(BUILT): $(READY) setup.py pyproject.toml $(NATIVE) $(PROTO)
	@echo "clearspan: building the kernels"
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

build: $(BUILT)  ## Set up the environment and build the kernels

demo: $(BUILT)  ## Start a cluster of three domains, settle real input, kill a node, audit
	@exec $(PY) -m clearspan demo $(DEMO)

# Three workers for two cores: a test that waits for a timelock leaves its core to another.
test: $(BUILT)  ## Run the tests (at most 10 minutes on two cores, no root, no network)
	$(PYTEST) -n 3 --dist worksteal $(PYTEST_ARGS) tests

check: $(BUILT)  ## Lint, types, import layers, tidy tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PYTEST) tests/tidy

bench: $(BUILT)  ## Measure the road: python -m bench settle --json
	$(PY) -m bench settle --json

simulate: $(BUILT)  ## Simulate from seeds: make simulate PART=shards SEEDS=0:2000
	$(PY) -m clearspan simulate --part $(PART) --seeds $(SEEDS)

fuzz: $(BUILT)  ## Longer runs of the fuzz tests
	$(PYTEST) tests/fuzz --nightly

portable: $(BUILT)  ## The kernels' self-test on 64-bit Arm, without AVX, without AVX-512; their tests with scalar forced
	$(PY) -m tests.portable || [ $$? -eq 77 ]
	CLEARSPAN_KERNEL=scalar $(PYTEST) tests/native tests/vectors

nightly: $(BUILT)  ## Crash, corruption, model and simulation sweeps for BUDGET minutes
	$(PY) -m tests.nightly --minutes $(BUDGET)

lock: $(READY)  ## Write requirements/*.txt anew from pyproject.toml
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --quiet --output-file requirements/run.txt pyproject.toml
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --quiet --group dev --output-file requirements/dev.txt pyproject.toml

docs: $(BUILT)  ## Write the generated pages (result codes, CLI reference) and check that they are current
	$(PY) -m engine.codes > docs/spec/result-codes.md
	$(PY) -m clearspan.cli.reference > docs/cli.md

clean:  ## Remove everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find native engine shards relay bridge clearspan -name '*.so' -delete
	rm -f native/hashing.c native/signatures.c native/ledger.c native/apply/codes.h
	rm -f clearspan/v1/*_pb2*.py* relay/v1/*_pb2*.py*
