"""Pages of the reference that are made of the code itself."""
