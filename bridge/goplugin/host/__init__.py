"""The host's side: a plugin that is started, called and ended."""
