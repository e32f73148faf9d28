"""Numbers of advisory locks, arbitrary but the same in every process that shares the database."""

from typing import Final

MIGRATE: Final = 8004_2026
INSTALL_QUEUE: Final = 8004_2027
RECONCILE_JOBS: Final = 8004_2028
ENQUEUE_DELIVERIES: Final = 8004_2030
KEEP_IMAGES: Final = 8004_2031
"""While a session has this lock, no image is deleted."""
