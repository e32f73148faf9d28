"""Benchmarks: ``make bench``, ``vitals``, ``scaling`` and ``accuracy``."""
