"""Logs, metrics, traces and stage timings."""
