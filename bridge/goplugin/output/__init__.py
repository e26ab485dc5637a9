"""What a plugin prints, captured for its host."""
