"""Tools, sessions and the server itself over JSON-RPC 2.0; ``docs/jsonrpc.md`` lists the methods."""
