"""Measures JSON-RPC and MCP beside a bare echo and beside MCP's own SDK. ``python -m bench.jsonrpc --help``."""
