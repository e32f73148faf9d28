"""Fuzzers with a time limit: ``make fuzz``; ``tests/e2e/test_fuzz.py`` runs them for some seconds."""
