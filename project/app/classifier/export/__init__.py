"""Exports models from weights: runs once, and is never imported while serving. Only ``keras`` needs TensorFlow."""
