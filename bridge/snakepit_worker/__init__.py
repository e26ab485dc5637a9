"""The process that a Snakepit pool launches: its arguments, its parent, its end.

``grpc_server.py`` is the script that the pool runs; docs/elixir.md tells how. Facts of the launch are of Snakepit
v0.13.0.
"""
