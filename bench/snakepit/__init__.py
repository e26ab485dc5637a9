"""A worker of a Snakepit pool beside Snakepit's own Python server. ``python -m bench.snakepit --help``."""
