"""A plugin's process as its host has it: started, heard, and ended."""
