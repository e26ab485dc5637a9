"""A plugin for the host of go-plugin's example "grpc" (https://github.com/hashicorp/go-plugin, examples/grpc).

In that folder, with this one's path for PATH:

    go build -o kv
    KV_PROTO=grpc KV_PLUGIN="python PATH/kv_plugin.py" ./kv put hello world
    KV_PROTO=grpc KV_PLUGIN="python PATH/kv_plugin.py" ./kv get hello

The host starts the plugin for each command, and knows nothing of Python. ``kv_stubs`` is made from the service:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. kv_stubs/kv.proto
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.goplugin import HandshakeConfig, ServicePlugin, protect_stdout, serve

protect_stdout()  # before the rest is imported: the first line on stdout is for the host

import grpc  # noqa: E402
from kv_stubs import kv_pb2, kv_pb2_grpc  # noqa: E402

HANDSHAKE = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello", protocol_version=1)


class KV:
    """Keeps values in files of the current folder. Its methods are plain functions, so they run in threads."""

    def Get(self, request: kv_pb2.GetRequest, context: Any) -> kv_pb2.GetResponse:
        try:
            return kv_pb2.GetResponse(value=_file(request.key).read_bytes())
        except FileNotFoundError:
            return context.abort(grpc.StatusCode.NOT_FOUND, "there is no such key: put it first")

    def Put(self, request: kv_pb2.PutRequest, context: Any) -> kv_pb2.Empty:
        if not request.key or "/" in request.key:
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a key is part of a file's name: no slashes in it")
        _file(request.key).write_bytes(request.value + b"\n\nWritten from plugin-python")
        return kv_pb2.Empty()


def _file(key: str) -> Path:
    return Path(f"kv_{key}")


if __name__ == "__main__":
    plugin = ServicePlugin(kv_pb2_grpc.add_KVServicer_to_server, KV(), kv_pb2_grpc.KVStub)
    serve(handshake=HANDSHAKE, plugins={"kv": plugin})
