"""Rate limits, counted in the database so that they hold across all web processes.

Uses the generic cell rate algorithm (ITU-T I.371): each subject has one timestamp, at which its whole quota is
available again. A request moves the timestamp into the future; it may be at most one window away.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db.connection import columns, execute
from app.db.errors import translate_connection_errors
from app.domain import RateDecision

WINDOW: Final = timedelta(minutes=1)

_USE: Final = """
INSERT INTO rate_limits AS kept (subject, free_at)
SELECT subject, now() + cost FROM unnest($1::text[], $2::interval[]) AS requested (subject, cost)
ON CONFLICT (subject) DO UPDATE SET free_at = greatest(kept.free_at, now()) + (EXCLUDED.free_at - now())
WHERE kept.free_at <= now() OR kept.free_at + (EXCLUDED.free_at - now()) <= now() + $3::interval
RETURNING subject, free_at - now() AS used
"""
_ADD: Final = """
INSERT INTO rate_limits AS kept (subject, free_at) VALUES ($1, now() + $2::interval)
ON CONFLICT (subject) DO UPDATE SET free_at = greatest(kept.free_at, now()) + $2::interval
"""
_RETURN: Final = "UPDATE rate_limits SET free_at = free_at - $2::interval WHERE subject = $1"


@dataclass(frozen=True, slots=True)
class RateRequest:
    """A request to use ``count`` of a subject's ``quota`` per WINDOW."""

    subject: str
    count: int
    quota: int

    @property
    def cost(self) -> timedelta:
        """Share of the window that it uses; a request larger than the quota uses the whole window."""
        return WINDOW * min(1.0, self.count / self.quota)


@translate_connection_errors()
async def decide(requests: list[RateRequest]) -> list[RateDecision]:
    """Decide requests, in one statement if their subjects differ. Raises DatabaseUnavailable."""
    decisions: dict[int, RateDecision] = {}
    undecided = dict(enumerate(requests))
    while undecided:
        # One statement cannot update a row twice, so each round takes one request per subject, in order.
        first_of: dict[str, int] = {}
        for number, request in undecided.items():
            first_of.setdefault(request.subject, number)
        chosen = sorted(first_of.values(), key=lambda number: requests[number].subject)
        rows = await execute(_USE, [*columns([(requests[n].subject, requests[n].cost) for n in chosen]), WINDOW])
        used = {row["subject"]: row["used"] for row in rows}
        refused = [requests[number].subject for number in chosen if requests[number].subject not in used]
        waits = await _used(refused) if refused else {}
        for number in chosen:
            request = undecided.pop(number)
            if request.subject in used:
                share = max(0.0, 1 - used[request.subject] / WINDOW)
                seconds = used[request.subject].total_seconds()
                decisions[number] = RateDecision(
                    allowed=True, quota=request.quota, left=int(request.quota * share), seconds=seconds
                )
            else:
                over = waits.get(request.subject, timedelta(0)) + request.cost - WINDOW
                seconds = max(1.0, over.total_seconds())
                decisions[number] = RateDecision(allowed=False, quota=request.quota, left=0, seconds=seconds)
    return [decisions[number] for number in range(len(requests))]


async def _used(subjects: list[str]) -> dict[str, timedelta]:
    rows = await execute("SELECT subject, free_at - now() AS used FROM rate_limits WHERE subject = ANY($1)", [subjects])
    return {row["subject"]: row["used"] for row in rows}


@translate_connection_errors()
async def adjust(subject: str, count: int, quota: int) -> None:
    """Use ``count`` more of a subject's quota than decided, even if it is used up, or give back a negative count.

    Raises DatabaseUnavailable.
    """
    await execute(_ADD if count > 0 else _RETURN, [subject, WINDOW * (abs(count) / quota)])


@translate_connection_errors()
async def delete_expired() -> None:
    """Delete unused counters. Raises DatabaseUnavailable."""
    await execute("DELETE FROM rate_limits WHERE free_at < now()")
