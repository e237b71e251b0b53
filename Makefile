# Everything a person or CI does with this tree. `make help` lists it.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
# The first one that runs and is new enough. The system's own comes first: distributions build it optimised, a fifth
# faster than what version managers compile, and a name on PATH may be a shim for nothing.
PYTHON ?= $(shell for p in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
CLUSTER := $(BIN)/python -m tests.cluster
.PHONY: help venv run demo test test-latest trials check unit format schemas golden lock cluster cluster-down install kubeconfig status images bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml deploy/locks/dev.lock
	@test -n "$(PYTHON)" || { echo 'No Python 3.11 or newer with the venv module runs here; on Debian: apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3' >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(LATEST),hatchling editables,--require-hashes -r deploy/locks/dev.lock)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation $(if $(LATEST),--editable '.[dev]',--no-deps --editable .)
	touch $@

venv: $(VENV)/.ready  ## set up .venv with everything that development needs

run: $(VENV)/.ready  ## the first run: the example BenchmarkRun against the bundled simulator, about a minute
	$(BIN)/tokenmark run deploy/examples/benchmarkrun.yaml --target sim --provider laptop

demo: $(VENV)/.ready  ## a cluster, the images, the chart, a real llama-server, a BenchmarkRun, the result
	$(BIN)/python -m tests.cluster.demo

test: check  ## what a change has to pass: check, contract, accuracy, integration, e2e on a real cluster
	$(BIN)/pytest -q -n auto --dist loadfile tests/contract tests/golden
	$(BIN)/pytest -q -m 'not trial' --reruns 1 --reruns-delay 10 -r aR --durations=40 tests/accuracy tests/integration tests/dashboards tests/engines tests/e2e

trials: $(VENV)/.ready  ## the cases that `make test` leaves out for their length, half an hour
	$(BIN)/pytest -q -m trial --durations=0 tests/accuracy tests/integration tests/engines tests/e2e

check: $(VENV)/.ready  ## format, lint, types, imports, unit, drift: three minutes, no network
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto --dist loadfile tests/unit tests/drift

test-latest:  ## `make check` on the newest releases of every library, not on the committed resolution
	$(MAKE) check VENV=.venv-latest LATEST=1

unit: $(VENV)/.ready  ## unit tests only
	$(BIN)/pytest -q tests/unit

format: $(VENV)/.ready  ## write the format, and what lint can repair by itself
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

schemas: $(VENV)/.ready  ## generate the JSON Schemas, the CRDs, the chart's rules, the dashboards and docs/coverage.md
	$(BIN)/python -m tokenmark_schemas.export .
	$(BIN)/python -m tokenmark_operator.kinds.rights .
	$(BIN)/python -m grafana.generate
	$(BIN)/python -m bench_runner.reports.coverage .

golden: $(VENV)/.ready  ## write the golden files anew; git diff shows what changed
	TOKENMARK_UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/golden

lock: $(VENV)/.ready  ## resolve anew what development, CI and images install
	PATH=$(CURDIR)/$(BIN):$$PATH deploy/locks/lock.sh

cluster: $(VENV)/.ready  ## bring up a cluster: KUBECONFIG, else kind, else an embedded one
	$(CLUSTER) up

cluster-down: $(VENV)/.ready  ## take it down, leaving nothing behind
	$(CLUSTER) down

install: $(VENV)/.ready  ## build the images into the cluster and install the chart
	$(CLUSTER) install

images: $(VENV)/.ready  ## build the three images and load them
	$(CLUSTER) images

kubeconfig: $(VENV)/.ready  ## print the path of the cluster's kubeconfig
	@$(CLUSTER) kubeconfig

status: $(VENV)/.ready  ## what of the cluster runs
	@$(CLUSTER) status

bench: $(VENV)/.ready  ## figures: accuracy and cost beside C, reaction time, footprint, cold start, image sizes
	$(BIN)/python -m tests.bench

clean:  ## remove what was generated in the tree
	rm -rf $(VENV) .venv-latest .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
