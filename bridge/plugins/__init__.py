"""Plugins on this machine: where their manifests are, whether they work, and the environments they run in."""
