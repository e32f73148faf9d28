"""What a user would otherwise install, each serving the same LiteRT file with the same preprocessing."""
