"""How much each may use in a while, counted in the database, so that all web processes count together.

The generic cell rate algorithm (ITU-T I.371): of each subject one time is kept, when all of its quota is free again;
using some of it moves that time on, and it may be no further away than the window is long.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db import columns, execute, unavailable_when_away

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
    """A subject's wish to use some of its quota: ``count`` of ``quota`` in each WINDOW."""

    subject: str
    count: int
    quota: int

    @property
    def cost(self) -> timedelta:
        """The part of the window that it takes; all of it for what is larger than a quota, and comes through alone."""
        return WINDOW * min(1.0, self.count / self.quota)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a quota, when a wish was granted or not; ``seconds``: until all of it is, or enough."""

    allowed: bool
    count: int
    seconds: float


@unavailable_when_away()
async def use(wishes: list[Use]) -> list[Left]:
    """Grant wishes, in one statement where they are of different subjects. Raises DatabaseUnavailable."""
    answers: dict[int, Left] = {}
    open_wishes = dict(enumerate(wishes))
    while open_wishes:
        # No row can be changed twice by one statement: of each subject one wish at a time, in their order.
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


@unavailable_when_away()
async def forget_old() -> None:
    """Remove what is free again. Raises DatabaseUnavailable."""
    await execute("DELETE FROM rate_limits WHERE free_at < now()")
