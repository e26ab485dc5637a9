"""yamux: many streams over one connection, as go-plugin multiplexes with it (hashicorp/yamux, spec.md).

``Peer`` is one side of a session as a plain state machine: bytes in, events and bytes out; it owns no socket, no clock
and no loop. ``Session`` runs one on a transport of asyncio, and gives each stream as a transport of its own.

Where the specification leaves room, this is as lenient as Go's implementation towards what that can send, and stricter
towards what it cannot: a stream id of the wrong side, a ping or go-away that names a stream, and flags that nobody has
defined end the session.
"""
