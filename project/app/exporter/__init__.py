"""From weights to an exported model. Runs once, with TensorFlow, and is never imported while serving."""
