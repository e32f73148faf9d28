"""Rate limits, counted in the database so that they hold across all web processes.

Uses the generic cell rate algorithm (ITU-T I.371): each subject has one timestamp, at which its whole quota is
available again. A request moves the timestamp into the future; it may be at most one window away.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db import columns, execute, translate_connection_errors

WINDOW: Final = timedelta(minutes=1)

_USE: Final = """
INSERT INTO rate_limits AS kept (subject, free_at)
SELECT subject, now() + cost FROM unnest($1::text[], $2::interval[]) AS asked (subject, cost)
ON CONFLICT (subject) DO UPDATE SET free_at = greatest(kept.free_at, now()) + (EXCLUDED.free_at - now())
WHERE kept.free_at <= now() OR kept.free_at + (EXCLUDED.free_at - now()) <= now() + $3::interval
RETURNING subject, free_at - now() AS used
"""


@dataclass(frozen=True, slots=True)
class Use:
    """A request to use ``count`` of a subject's ``quota`` per WINDOW."""

    subject: str
    count: int
    quota: int

    @property
    def cost(self) -> timedelta:
        """Share of the window that it uses; a request larger than the quota uses the whole window."""
        return WINDOW * min(1.0, self.count / self.quota)


@dataclass(frozen=True, slots=True)
class Left:
    """Whether a request was allowed, and what is left: ``seconds`` until the whole quota, or enough of it, is free."""

    allowed: bool
    count: int
    seconds: float


@translate_connection_errors()
async def use(wishes: list[Use]) -> list[Left]:
    """Decide requests, in one statement if their subjects differ. Raises DatabaseUnavailable."""
    answers: dict[int, Left] = {}
    open_wishes = dict(enumerate(wishes))
    while open_wishes:
        # One statement cannot update a row twice, so each round takes one request per subject, in order.
        now: dict[str, int] = {}
        for number, wish in open_wishes.items():
            now.setdefault(wish.subject, number)
        chosen = sorted(now.values(), key=lambda number: wishes[number].subject)
        rows = await execute(_USE, [*columns([(wishes[n].subject, wishes[n].cost) for n in chosen]), WINDOW])
        used = {row["subject"]: row["used"] for row in rows}
        refused = [wishes[number].subject for number in chosen if wishes[number].subject not in used]
        waits = await _used(refused) if refused else {}
        for number in chosen:
            wish = open_wishes.pop(number)
            if wish.subject in used:
                share = max(0.0, 1 - used[wish.subject] / WINDOW)
                seconds = used[wish.subject].total_seconds()
                answers[number] = Left(allowed=True, count=int(wish.quota * share), seconds=seconds)
            else:
                over = waits.get(wish.subject, timedelta(0)) + wish.cost - WINDOW
                answers[number] = Left(allowed=False, count=0, seconds=max(1.0, over.total_seconds()))
    return [answers[number] for number in range(len(wishes))]


async def _used(subjects: list[str]) -> dict[str, timedelta]:
    rows = await execute("SELECT subject, free_at - now() AS used FROM rate_limits WHERE subject = ANY($1)", [subjects])
    return {row["subject"]: row["used"] for row in rows}


@translate_connection_errors()
async def forget_old() -> None:
    """Delete unused counters. Raises DatabaseUnavailable."""
    await execute("DELETE FROM rate_limits WHERE free_at < now()")
