"""Programs for development and set-up, run by the Makefile."""
