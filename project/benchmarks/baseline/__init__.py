"""The service a user would otherwise write."""
