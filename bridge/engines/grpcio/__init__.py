"""The engine on grpcio: the only package that imports it."""
