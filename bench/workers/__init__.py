"""Calls into plugins in other interpreters, without a server: WorkerProxy beside cjm-plugin-system and Appose."""
