#!/bin/sh
# Generates the stubs of proto/: wire/ for Go, *_pb2.py beside the files for Python.
# Needs Go (it fetches its two generators) and a Python with grpcio-tools.
#
#     tests/goplugin/generate.sh .venv-proto/bin/python
set -eu
python=$(command -v "${1:-.venv-proto/bin/python}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
rm -f wire/*.pb.go proto/*_pb2*
# Paths from the checkout on are names that no other copy of these files has in a process.
cd ../..
"$python" -m grpc_tools.protoc -I. \
  --plugin=protoc-gen-go="$tools/protoc-gen-go" --plugin=protoc-gen-go-grpc="$tools/protoc-gen-go-grpc" \
  --go_out=tests/goplugin --go_opt=module=toolbridge.test/goplugin \
  --go-grpc_out=tests/goplugin --go-grpc_opt=module=toolbridge.test/goplugin \
  --python_out=. --pyi_out=. --grpc_python_out=. \
  tests/goplugin/proto/*.proto
