"""Fuzzing, bounded in time: ``make fuzz``; ``tests/e2e/test_fuzz.py`` runs it for some seconds."""
