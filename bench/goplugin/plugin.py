"""The plugin of ours: what pyvider's serves (tests/goplugin/pyvider_plugin.py), written as an author would."""

from __future__ import annotations

from bridge.goplugin import HandshakeConfig, ServicePlugin, protect_stdout, serve

protect_stdout()

from tests.goplugin.proto import kv_pb2_grpc, probe_pb2_grpc  # noqa: E402
from tests.goplugin.servicers import KV, Probe, Streamer  # noqa: E402

if __name__ == "__main__":
    serve(
        handshake=HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello"),
        plugins={
            "kv": ServicePlugin(kv_pb2_grpc.add_KVServicer_to_server, KV()),
            "streamer": ServicePlugin(probe_pb2_grpc.add_StreamerServicer_to_server, Streamer()),
            "probe": ServicePlugin(probe_pb2_grpc.add_ProbeServicer_to_server, Probe()),
        },
    )
