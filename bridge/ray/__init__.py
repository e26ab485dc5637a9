"""Workers on a Ray cluster. Nothing here imports Ray before it is needed: it is large, and most servers have none."""
