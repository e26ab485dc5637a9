"""Plugins of ours beside pyvider's and one in Go. ``python -m bench.goplugin --help``."""
