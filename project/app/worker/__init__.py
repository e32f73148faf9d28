"""From a pending row to a finished one, in this process or through the queue."""
