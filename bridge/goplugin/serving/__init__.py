"""The plugin's side: a server that a host has started, from the cookie to the end."""
