"""Periods and their steps, in the calendars of time zones whose clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.periods import BUCKET, MOST_STEPS, Period, TimeStep, next_bucket
from taskforce.core.domain.time_zones import parse_time_zone

NOW = datetime(2026, 11, 15, 12, 7, tzinfo=UTC)
ZONES = [
    *("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "America/New_York", "America/Havana"),
    *("Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Atlantic/Azores"),
]
QUARTERS = st.integers(0, 40 * 365 * 96)
FIRST = datetime(2000, 1, 1, tzinfo=UTC)


def period(start: str, end: str, zone: str = "UTC") -> Period:
    return Period.parse(start, end, ZoneInfo(zone), NOW)


def refused(start: str | None, end: str | None, zone: str = "UTC") -> str:
    with pytest.raises(Invalid) as found:
        Period.parse(start, end, ZoneInfo(zone), NOW)
    return found.value.code


def test_a_date_stands_for_its_whole_day_in_the_time_zone() -> None:
    found = period("2026-11-03", "2026-11-07", "Asia/Kolkata")
    assert found.start == datetime(2026, 11, 2, 18, 30, tzinfo=UTC)
    assert found.end == datetime(2026, 11, 7, 18, 30, tzinfo=UTC)


def test_without_bounds_it_is_this_month_until_now() -> None:
    found = Period.parse(None, None, ZoneInfo("America/New_York"), NOW)
    assert (found.start, found.end) == (
        datetime(2026, 11, 1, 4, tzinfo=UTC),
        datetime(2026, 11, 15, 12, 15, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        ("2026-11-07", "2026-11-03", "period_invalid"),
        ("2026-11-07T00:00:00Z", "2026-11-07T00:00:00Z", "period_invalid"),
        ("1999-12-31", "2026-11-03", "period_invalid"),
        ("2026-11-07", "9999-12-31", "time_invalid"),
        ("2026-11-07T00:10:00Z", "2026-11-08", "period_unaligned"),
        ("2026-11-07T00:00:00.5Z", "2026-11-08", "period_unaligned"),
        ("2026-11-07T00:00:00", "2026-11-08", "time_invalid"),
        ("yesterday", "2026-11-08", "time_invalid"),
        ("0001-01-01T00:00:00+14:00", "2026-11-08", "time_invalid"),
    ],
)
def test_what_makes_no_sense_is_refused(start: str, end: str, code: str) -> None:
    assert refused(start, end) == code


def test_days_on_which_clocks_change_have_23_and_25_hours() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        found = period(day, day, "Europe/Berlin")
        assert found.end - found.start == timedelta(hours=hours)
        assert len(found.bounds(TimeStep.HOUR, ZoneInfo("Europe/Berlin"))) == hours + 1


def test_where_clocks_skip_midnight_the_day_begins_with_the_change() -> None:
    # In Cairo 2026-04-24 began at 01:00.
    found = period("2026-04-24", "2026-04-24", "Africa/Cairo")
    assert found.start.astimezone(ZoneInfo("Africa/Cairo")).hour == 1
    assert found.end - found.start == timedelta(hours=23)


def test_a_day_that_a_zone_skips_is_no_step() -> None:
    zone = ZoneInfo("Pacific/Apia")
    bounds = period("2011-12-28", "2011-12-31", "Pacific/Apia").bounds(TimeStep.DAY, zone)
    assert [bound.astimezone(zone).day for bound in bounds[:-1]] == [28, 29, 31]


def test_weeks_begin_on_monday_and_months_on_their_first_day() -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    found = period("2026-10-30", "2026-12-02", "Asia/Kathmandu")
    local = [bound.astimezone(zone).date().isoformat() for bound in found.bounds(TimeStep.MONTH, zone)]
    assert local == ["2026-10-30", "2026-11-01", "2026-12-01", "2026-12-03"]
    weeks = [bound.astimezone(zone).weekday() for bound in found.bounds(TimeStep.WEEK, zone)[1:-1]]
    assert weeks == [0] * 5


def test_a_month_has_quarters_of_an_hour_and_two_have_not() -> None:
    assert len(period("2026-10-01", "2026-10-31").bounds(TimeStep.QUARTER, UTC)) == 31 * 96 + 1
    with pytest.raises(Invalid) as found:
        period("2026-10-01", "2026-11-30").bounds(TimeStep.QUARTER, UTC)
    assert found.value.code == "step_too_fine"


@given(zone=st.sampled_from(ZONES), first=QUARTERS, length=st.integers(1, 90 * 96), step=st.sampled_from(TimeStep))
def test_steps_cover_a_period_without_gaps(zone: str, first: int, length: int, step: TimeStep) -> None:
    start = FIRST + first * BUCKET
    found = Period(start, start + length * BUCKET)
    if step is TimeStep.QUARTER and length > MOST_STEPS:
        return
    where = ZoneInfo(zone)
    bounds = found.bounds(step, where)
    assert (bounds[0], bounds[-1]) == (found.start, found.end)
    assert list(bounds) == sorted(set(bounds))
    assert all((bound - FIRST) % BUCKET == timedelta() for bound in bounds)
    if step is TimeStep.HOUR:
        assert all(bound.astimezone(where).minute == 0 for bound in bounds[1:-1])
        assert max(after - before for before, after in pairwise(bounds)) <= timedelta(minutes=90)
    if step is TimeStep.DAY:
        days = [bound.astimezone(where).date() for bound in bounds[:-1]]
        assert days == sorted(set(days))


@given(quarter=QUARTERS, seconds=st.integers(0, 899))
def test_the_next_bucket_begins_within_15_minutes(quarter: int, seconds: int) -> None:
    moment = FIRST + quarter * BUCKET + timedelta(seconds=seconds)
    assert next_bucket(moment) == FIRST + (quarter + 1) * BUCKET


@pytest.mark.parametrize(
    "name",
    ["", "utc", "localtime", "posixrules", "right/Europe/Berlin", "../etc/passwd", "Europe", "Mars/Base", "A" * 999],
)
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as found:
        parse_time_zone(name)
    assert found.value.code == "time_zone_unknown"


@pytest.mark.parametrize("name", [*ZONES, "Etc/GMT+1", "America/North_Dakota/New_Salem", "GB-Eire"])
def test_names_of_the_iana_database_are_known(name: str) -> None:
    assert parse_time_zone(name).key == name
