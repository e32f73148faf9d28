"""Requests that the service makes: webhooks and image downloads."""
