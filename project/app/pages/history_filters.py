"""The filters of History, as its form and its address write them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from app.api.deps import AppState
from app.api.filters import with_meanings
from app.api.params import FIRST_TIME, LAST_TIME, Time
from app.db.crud.search import Filters, Order, Reviewed, Sort
from app.domain import Decision, Status
from app.models.pydantic import StorableStr

MAX_IDS: Final = 10_000
Day = Annotated[date, Field(ge=FIRST_TIME.date(), le=LAST_TIME.date())]
Moment = Literal[""] | Day | Time


def _begin(moment: Moment) -> datetime | None:
    if isinstance(moment, datetime):
        return moment
    return datetime.combine(moment, time(), UTC) if moment else None


def _end(moment: Moment) -> datetime | None:
    begin = _begin(moment)
    return begin if begin is None or isinstance(moment, datetime) else begin + timedelta(days=1)


class HistoryFilters(BaseModel):
    """The filters of History as its form sends them: empty ones too."""

    q: StorableStr = ""
    status: Literal["", "pending", "processing", "succeeded", "failed"] = ""
    model: StorableStr = ""
    label: StorableStr = ""
    category: StorableStr = ""
    decision: Literal["", "sure", "unsure"] = ""
    reviewed: Literal["", "yes", "no", "confirmed", "corrected"] = ""
    only: Annotated[
        str, Field(max_length=4_000, pattern=r"^([0-9]{1,18}(-[0-9]{1,18})?(,[0-9]{1,18}(-[0-9]{1,18})?)*)?$")
    ] = ""
    """IDs and ranges of them: 3-5,9."""
    least: Annotated[str, Field(pattern="^([0-9]{1,3})?$", description="Confidence in percent.")] = ""
    most: Annotated[str, Field(pattern="^([0-9]{1,3})?$", description="Confidence in percent.")] = ""
    since: Moment = ""
    until: Moment = ""
    """Dates are days in UTC, and the last one is included. Scripts send the times at which local days begin and end."""
    sort: Literal["", "oldest", "least_certain", "most_certain"] = ""

    def filters(self, state: AppState) -> Filters:
        """The filters of a search."""
        return with_meanings(self._plain(), state, self.category)

    def _plain(self) -> Filters:
        return Filters(
            status=Status(self.status) if self.status else None,
            model=self.model,
            label=self.label,
            min_confidence=int(self.least) / 100 if self.least else None,
            max_confidence=int(self.most) / 100 if self.most else None,
            words=self.q,
            reviewed=Reviewed(self.reviewed) if self.reviewed else None,
            ids=tuple(self._ids()) if self.only else None,
            decision=Decision(self.decision) if self.decision else None,
            created_from=_begin(self.since),
            created_before=_end(self.until),
        )

    def order(self) -> Order:
        """The order of the list."""
        return Sort(self.sort or "newest").order(self._plain())

    def _ids(self) -> Iterator[int]:
        """The IDs, at most MAX_IDS."""
        ranges = (part.partition("-") for part in self.only.split(",") if part)
        numbers = (number for first, _, last in ranges for number in range(int(first), int(last or first) + 1))
        return islice(numbers, MAX_IDS)

    def day(self, name: Literal["since", "until"]) -> str:
        """The day of a filter in UTC, as YYYY-MM-DD; empty if there is none."""
        moment = getattr(self, name)
        if isinstance(moment, datetime):
            # The last day of a period ends where the next one begins.
            moment = (moment - (timedelta(microseconds=1) if name == "until" else timedelta())).date()
        return str(moment)

    def query(self, **others: str) -> str:
        """The query of History's address with these filters, and other parameters."""
        names = HistoryFilters.model_fields
        parameters = {**{name: getattr(self, name) for name in names}, **others}
        return urlencode({name: value for name, value in parameters.items() if value})

    def api_query(self, **others: str) -> str:
        """The query of the API for the same predictions."""
        percents = {"min_confidence": self.least, "max_confidence": self.most}
        filters = self._plain()
        times = {"created_from": filters.created_from, "created_before": filters.created_before}
        parameters: dict[str, object] = {
            **{
                name: getattr(self, name)
                for name in ("q", "status", "model", "label", "reviewed", "category", "decision")
            },
            **{name: int(value) / 100 for name, value in percents.items() if value},
            **{name: value.isoformat() for name, value in times.items() if value},
            **others,
        }
        used: list[tuple[str, object]] = [(name, value) for name, value in parameters.items() if value != ""]
        return urlencode([*used, *(("ids", number) for number in self._ids())])
