"""Sockets, TLS and yamux between a host and its plugin, and the way from there to the gRPC engine."""
