#!/bin/sh
# Makes bridgev1/ from proto/bridge/v1. PROTOC: a protoc of one's own; by default that of `make proto`.
set -eu
cd "$(dirname "$0")"

module=github.com/tool-bridge/tool-bridge/clients/go
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOFLAGS='' GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10
GOFLAGS='' GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1

# The files say where they lie in the repository; this says where they lie in this module.
options=''
for name in bridge host plugin values; do
  options="$options --go_opt=Mbridge/v1/$name.proto=$module/bridgev1 --go-grpc_opt=Mbridge/v1/$name.proto=$module/bridgev1"
done
# shellcheck disable=SC2086
PATH="$tools:$PATH" ${PROTOC:-../../.venv-proto/bin/python -m grpc_tools.protoc} -I../../proto $options \
  --go_out=. --go_opt=module=$module --go-grpc_out=. --go-grpc_opt=module=$module ../../proto/bridge/v1/*.proto
