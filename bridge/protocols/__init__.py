"""Protocols as plain state machines: bytes in, messages or a violation out. They own no socket, no clock and no loop.

A connection is a framing (``ContentLength`` or ``Newline``), which cuts a stream into texts, and a ``Peer``
(``bridge.protocols.jsonrpc``), which knows what the texts mean.
"""
