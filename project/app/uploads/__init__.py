"""From received bytes to a committed row."""
