"""go-plugin's broker: more connections between a host and its plugin, in either direction."""
