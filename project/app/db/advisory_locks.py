"""Advisory locks: their numbers, arbitrary but the same in every process that shares the database, and who has them."""

from typing import Final

MIGRATE: Final = 8004_2026
INSTALL_QUEUE: Final = 8004_2027
RECONCILE_JOBS: Final = 8004_2028
ENQUEUE_DELIVERIES: Final = 8004_2030
SIMILAR_INDEX: Final = 8004_2032
"""While a session has this lock, it creates an index for similar images."""
KEEP_IMAGES: Final = 8004_2031
"""While a session has this lock, no image is deleted."""


def is_held(number: str) -> str:
    """SQL: whether a session of this database has the lock ``number``, an expression of ours."""
    return f"""EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = {number}
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )"""  # noqa: S608 - no value of a client # nosec B608
