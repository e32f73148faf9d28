"""Exports Keras applications and users' own models. Needs TensorFlow (``requirements-export.txt``)."""
