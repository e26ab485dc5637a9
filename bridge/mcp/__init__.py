"""Tools as a server of the Model Context Protocol (modelcontextprotocol.io), over stdio and Streamable HTTP.

The official SDK speaks the protocol, in all its revisions; what a call is, what an error says and when a tool is dead
is decided here. The SDK weighs more than everything else together, so nothing but this package imports it, and nothing
but ``bridge mcp`` imports this package.
"""
