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
	$(BIN)/python -m pytest -n auto --dist loadfile

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

# The messages of other projects' wires are loaded into pools of their own (bridge/private_messages.py), from descriptor
# sets. The file of go-plugin keeps its folder's name: reflection shows it beside the plugins' own files.
GENERATE = $(PROTO_VENV)/bin/python -m grpc_tools.protoc
define generate # into a folder
	$(GENERATE) -Iproto --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) proto/bridge/v1/*.proto
	$(GENERATE) -Iproto/snakepit --pyi_out=$(1)/bridge/snakepit \
	  --descriptor_set_out=$(1)/bridge/snakepit/messages.binpb snakepit_bridge.proto
	mv $(1)/bridge/snakepit/snakepit_bridge_pb2.pyi $(1)/bridge/snakepit/messages.pyi
	$(GENERATE) -Iproto --pyi_out=$(1)/bridge \
	  --descriptor_set_out=$(1)/bridge/goplugin/messages.binpb goplugin/plugin.proto
	mv $(1)/bridge/goplugin/plugin_pb2.pyi $(1)/bridge/goplugin/messages.pyi
endef

proto: $(PROTO_VENV)/.installed ## generate from proto/ what is in bridge/
	$(call generate,.)

proto-check: $(PROTO_VENV)/.installed
	@rm -rf .proto-check && mkdir -p .proto-check/bridge/snakepit .proto-check/bridge/goplugin
	@$(call generate,.proto-check)
	@cd .proto-check && for file in bridge/*/*; do cmp "$$file" "../$$file" || \
	  { echo "$$file is stale: run make proto"; exit 1; }; done
	@rm -rf .proto-check

proto-breaking: $(DEV_STAMP)
	$(BIN)/buf breaking proto --against proto/baseline.binpb

proto-baseline: $(DEV_STAMP) ## at a release: what later versions must stay compatible with
	$(BIN)/buf build proto -o proto/baseline.binpb

bench: $(STAMP) ## measure, beside a bare grpc.aio echo and the peers
	$(BIN)/python -m bench

clean: ## remove what the targets above made
	rm -rf $(VENV) $(PROTO_VENV) .venv-bench-* .tools dist build
