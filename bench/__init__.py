"""Measures what a call costs, beside a bare grpc.aio server and beside peers. ``python -m bench --help``."""
