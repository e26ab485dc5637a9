"""Servers of other projects, run by the interpreter of their own virtual environment."""
