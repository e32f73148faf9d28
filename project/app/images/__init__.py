"""From bytes to facts, pixels and clean files."""
