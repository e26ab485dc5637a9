"""Worker processes: tools in interpreters of their own, that can be killed."""
