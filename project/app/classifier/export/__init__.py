"""Exports models from weights. Runs once, with TensorFlow, and is never imported while serving."""
