"""Commands: serve, worker, migrate, doctor, keys, audit, backup, models."""
