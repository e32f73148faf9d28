"""From a model folder to labels."""
