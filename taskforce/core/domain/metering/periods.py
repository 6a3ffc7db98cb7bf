"""Periods of reports, in the calendar of a time zone: their ends, and the steps that they are divided into."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Self

from taskforce.core.domain.errors import Invalid

BUCKET = timedelta(minutes=15)
"""The length of a bucket; it divides every zone's offset, so that a day anywhere begins with a bucket."""
MOST_STEPS = 3_000
"""Steps of a period at most; a month has 2,976 quarters of an hour."""
LATE = timedelta(minutes=5)
"""How much later all API calls of a time are counted: processes store their statistics every few seconds."""
MINUTE = timedelta(minutes=1)
LONGEST_OF_MINUTES = timedelta(days=366)
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_WEEK_DAYS = 7
_MONTHS = 12


class TimeStep(StrEnum):
    """A division of a period. Days, weeks (from Monday) and months are those of the time zone's calendar."""

    QUARTER = "15min"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    NONE = "none"


_LEAST: dict[TimeStep, timedelta] = {
    TimeStep.QUARTER: BUCKET,
    TimeStep.HOUR: _HOUR,
    TimeStep.DAY: _DAY,
    TimeStep.WEEK: _DAY * _WEEK_DAYS,
    TimeStep.MONTH: _DAY * 28,
}


@dataclass(frozen=True, slots=True)
class CalendarDays:
    """Whole days of a time zone.

    Attributes:
        zone: IANA name of the time zone.
        first: The first day.
        last: The last day.
        start: The beginning of the first one, UTC.
        end: The end of the last one, UTC, left out.
    """

    zone: str
    first: date
    last: date
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """A period between two bounds of buckets.

    Attributes:
        start: Its beginning, UTC.
        end: Its end, UTC, left out.

    Raises:
        Invalid: `period_invalid`: it ends before it starts, or is not within `FIRST` and `LAST`; `period_unaligned`: a
            bound is no multiple of 15 minutes.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        _check_bounds(self.start, self.end)
        if any((bound - FIRST) % BUCKET for bound in (self.start, self.end)):
            raise Invalid("period_unaligned", "Usage is counted by quarters of an hour: use :00, :15, :30 or :45.")

    @classmethod
    def parse(cls, start: str | None, end: str | None, zone: tzinfo, now: datetime) -> Self:
        """Parses a period: each bound is a time with its zone, or a date, which stands for the whole day.

        Args:
            start: The beginning; None for that of the month of the end.
            end: The end; None for the end of the current quarter of an hour.
            zone: The time zone of the dates.
            now: The time, UTC.

        Raises:
            Invalid: `time_invalid`, `period_invalid` or `period_unaligned`.
        """
        until = next_bucket(now) if end is None else _bound(end, zone, days=1)
        if start is not None:
            return cls(_bound(start, zone, days=0), until)
        last_day = (until - BUCKET).astimezone(zone).date()
        return cls(midnight(last_day.replace(day=1), zone), until)

    def bounds(self, step: TimeStep, zone: tzinfo) -> tuple[datetime, ...]:
        """Returns the bounds of the steps, UTC: the period's start, where a new step begins, the period's end.

        Args:
            step: The division.
            zone: The time zone of the calendar.

        Raises:
            Invalid: `step_too_fine`: there are more than `MOST_STEPS`.
        """
        if step is TimeStep.NONE:
            return self.start, self.end
        if (self.end - self.start) / _LEAST[step] > MOST_STEPS:
            text = f"The period has more than {MOST_STEPS} steps of this length. Ask for longer steps, or less time."
            raise Invalid("step_too_fine", text)
        inner = (bound for bound in _beginnings(self.start, step, zone, self.end) if bound > self.start)
        # Once each: a zone that changes sides of the date line skips a whole day.
        return self.start, *dict.fromkeys(inner), self.end

    def days(self, zone: tzinfo) -> CalendarDays | None:
        """Returns the whole days of a time zone that are within the period; None when there is none."""
        first = self.start.astimezone(zone).date()
        if midnight(first, zone) < self.start:
            first += _DAY
        last = self.end.astimezone(zone).date() - _DAY
        if last < first:
            return None
        return CalendarDays(str(zone), first, last, midnight(first, zone), midnight(last + _DAY, zone))


@dataclass(frozen=True, slots=True)
class MinutePeriod:
    """A period of whole minutes, by which service levels are counted.

    Attributes:
        start: Its beginning, UTC.
        end: Its end, UTC, left out.
    """

    start: datetime
    end: datetime

    @classmethod
    def touched(cls, start: datetime, end: datetime) -> Self:
        """Returns the whole minutes that a period touches.

        Raises:
            Invalid: `period_invalid`: it ends before it starts, is not within `FIRST` and `LAST`, or is longer than
                `LONGEST_OF_MINUTES`.
        """
        _check_bounds(start, end)
        if end - start > LONGEST_OF_MINUTES:
            raise Invalid("period_invalid", f"The period is longer than {LONGEST_OF_MINUTES.days} days.")
        last = whole_minute(end)
        return cls(whole_minute(start), last if last == end else last + MINUTE)


def whole_minute(moment: datetime) -> datetime:
    """Returns the beginning of the minute that a time is in."""
    return moment.replace(second=0, microsecond=0)


def _check_bounds(start: datetime, end: datetime) -> None:
    if end <= start:
        raise Invalid("period_invalid", "The period ends before it starts, or is empty.")
    if start < FIRST or end > LAST:
        raise Invalid("period_invalid", f"A period is between {FIRST.date()} and {LAST.date()}.")


def next_bucket(moment: datetime) -> datetime:
    """Returns the end of the bucket that a time is in, UTC."""
    return moment - (moment - FIRST) % BUCKET + BUCKET


def counted_until(now: datetime) -> datetime:
    """Returns the end of the last bucket whose API calls can be counted, UTC.

    Args:
        now: The time, UTC.
    """
    return next_bucket(now - LATE) - BUCKET


def midnight(day: date, zone: tzinfo) -> datetime:
    """Returns the first moment of a day in a time zone, UTC; where clocks skip midnight, that of the change."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _bound(text: str, zone: tzinfo, days: int) -> datetime:
    try:
        if len(text) == len("2026-01-31"):
            return midnight(date.fromisoformat(text) + timedelta(days=days), zone)
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = "A time has the form 2026-01-31T09:30:00+01:00 and a zone; a date has the form 2026-01-31."
    raise Invalid("time_invalid", message)


def _beginnings(start: datetime, step: TimeStep, zone: tzinfo, end: datetime) -> Iterator[datetime]:
    """Yields the beginnings of the steps from the one that holds the start on, up to the end."""
    if step in {TimeStep.QUARTER, TimeStep.HOUR}:
        yield from _hours(start, end, zone, whole=step is TimeStep.HOUR)
        return
    day = start.astimezone(zone).date()
    if step is TimeStep.WEEK:
        day -= timedelta(days=day.weekday())
    if step is TimeStep.MONTH:
        day = day.replace(day=1)
    while (bound := midnight(day, zone)) < end:
        yield bound
        day = _following(day, step)


def _hours(start: datetime, end: datetime, zone: tzinfo, *, whole: bool) -> Iterator[datetime]:
    bound = start
    while bound < end:
        minute = bound.astimezone(zone).minute if whole else 0
        if minute == 0:
            yield bound
        # By quarters after a beginning within an hour, and after a change of clocks by half an hour.
        bound += _HOUR if whole and minute == 0 and not (bound + _HOUR).astimezone(zone).minute else BUCKET


def _following(day: date, step: TimeStep) -> date:
    if step is TimeStep.MONTH:
        return date(day.year + day.month // _MONTHS, day.month % _MONTHS + 1, 1)
    return day + timedelta(days=_WEEK_DAYS if step is TimeStep.WEEK else 1)
