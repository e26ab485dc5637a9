# The project's chores. `make run` and `make test` need nothing but Python >= 3.11.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# Older than any grpcio we support: stubs made by it work with every later runtime.
PROTO_VENV := .venv-proto
PROTO_TOOLS := grpcio-tools==1.76.0
# What the tests need besides Python; fetched only where it is not installed.
REDIS := $(if $(shell command -v redis-server),,.tools/redis/redis-server)

.DEFAULT_GOAL := help
.PHONY: help run test check lint types layers proto proto-check proto-breaking proto-baseline bench clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) tools/make_venv.py $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[numpy]'
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(STAMP)

.tools/redis/redis-server: tools/get_redis.py
	$(PYTHON) tools/get_redis.py .tools/redis

run: $(STAMP) ## set up, then show the bridge at work: host, server and client as processes
	$(BIN)/bridge demo

test: $(DEV_STAMP) $(REDIS) ## set up, then run all tests
	$(BIN)/python -m pytest

check: lint types layers proto-check proto-breaking ## formatter, linter, types, import layers, stubs

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/buf lint proto

types: $(DEV_STAMP)
	$(BIN)/mypy

layers: $(DEV_STAMP)
	$(BIN)/lint-imports

$(PROTO_VENV)/.installed: Makefile
	$(PYTHON) tools/make_venv.py $(PROTO_VENV)
	$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check '$(PROTO_TOOLS)'
	@touch $@

proto: $(PROTO_VENV)/.installed ## generate bridge/v1 from proto/
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/bridge/v1/*.proto

proto-check: $(PROTO_VENV)/.installed
	@out=$$(mktemp -d) && $(PROTO_VENV)/bin/python -m grpc_tools.protoc -Iproto --python_out=$$out --pyi_out=$$out \
	  --grpc_python_out=$$out proto/bridge/v1/*.proto && \
	for file in $$out/bridge/v1/*; do cmp "$$file" bridge/v1/$$(basename "$$file") || \
	  { echo "bridge/v1 is stale: run make proto"; exit 1; }; done; rm -rf "$$out"

proto-breaking: $(DEV_STAMP)
	$(BIN)/buf breaking proto --against proto/baseline.binpb

proto-baseline: $(DEV_STAMP) ## at a release: what later versions must stay compatible with
	$(BIN)/buf build proto -o proto/baseline.binpb

bench: $(STAMP) ## measure, beside a bare grpc.aio echo and the peers
	$(BIN)/python -m bench

clean: ## remove what the targets above made
	rm -rf $(VENV) $(PROTO_VENV) .venv-bench-* .tools dist build
