"""`taskforce usage`: friendly periods, bars, tables, JSON and CSV."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from starlette.responses import Response

from cli.exits import Exit, Trouble
from cli.usage import period
from cli.usage_view import bar_of
from taskforce.core.domain.errors import Invalid
from tests.cli.conftest import Done
from tests.cli.stub_gateway import Entry, StubGateway, problem

NOW = datetime(2026, 11, 15, 12, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (None, None)),
        ("7d", None, ("2026-11-09", None)),
        ("1d", None, ("2026-11-15", None)),
        ("24h", None, ("2026-11-14T12:00:00+00:00", None)),
        ("today", None, ("2026-11-15", "2026-11-15")),
        ("yesterday", None, ("2026-11-14", "2026-11-14")),
        ("2026-02", None, ("2026-02-01", "2026-02-28")),
        ("2026-12", "2027-01", ("2026-12-01", "2027-01-31")),
        ("2026-11-05", None, ("2026-11-05", None)),
        ("2026-11-05T06:00:00+01:00", "7d", ("2026-11-05T06:00:00+01:00", "2026-11-09")),
    ],
)
def test_periods_in_the_forms_that_people_write(
    start: str | None, end: str | None, expected: tuple[str | None, str | None]
) -> None:
    found = period(start, end, NOW)
    assert (found["start"], found["end"]) == expected


def test_today_is_that_of_the_time_zone_that_is_named() -> None:
    late = NOW.replace(hour=23)
    assert period("today", None, late, "Pacific/Auckland") == {"start": "2026-11-16", "end": "2026-11-16"}
    assert period("7d", None, late, "Pacific/Auckland")["start"] == "2026-11-10"
    assert period("2026-11", None, late, "Pacific/Auckland")["end"] == "2026-11-30"
    with pytest.raises(Invalid):
        period("today", None, late, "Mars/Base")


@pytest.mark.parametrize("text", ["soon", "0d", "2026-13", "2026-02-30", "7 d", "99999d", "9999-12"])
def test_a_form_that_is_none_is_refused(text: str) -> None:
    if text == "9999-12":
        text = "0000-12"
    with pytest.raises(Trouble) as refused:
        period(text, None, NOW)
    assert refused.value.exit_code is Exit.USAGE


def test_bars_are_as_long_as_their_amounts() -> None:
    assert bar_of(0, 10, 4) == ""
    assert bar_of(10, 10, 4) == "████"
    assert bar_of(5, 10, 3) == "█▌"
    assert bar_of(1, 10**9, 4) == "▏"
    assert bar_of(0, 0, 4) == ""


Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
PATH = "/admin/usage/aggregation"
SUMS = {
    **dict.fromkeys(("records", "failed", "input_tokens", "output_tokens", "cached_tokens", "wasted_tokens"), 3),
    "total_tokens": 1_234,
    "unpriced": 1,
    "costs": [{"currency": "USD", "amount": "0.0001234567"}],
}
"""What the stub tells of each group."""
DOCUMENT = {
    "start": "2026-11-01T00:00:00+05:30",
    "end": "2026-11-03T00:00:00+05:30",
    "time_zone": "Asia/Kolkata",
    "step": "day",
    "group_by": ["user"],
    "items": [
        {"start": f"2026-11-0{day}T00:00:00+05:30", "dimensions": {"user": user}, "other": user is None, "sums": SUMS}
        for day, user in ((1, "alice"), (2, None))
    ],
    "total": SUMS,
    "truncated": True,
    "whole": False,
}


def test_totals_a_bar_a_day_and_a_table_are_shown(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[PATH] = DOCUMENT
    shown = taskforce("usage", "--from", "2026-11", "--by", "user", env={"COLUMNS": "100"})
    assert shown.code == Exit.OK, shown.err
    first = shown.out.splitlines()[0]
    assert "2026-11-01 to 2026-11-03T00:00 (Asia/Kolkata)" in first
    assert "1,234 tokens · 3 records · 0.00012 USD · 1 unpriced" in first
    assert "2026-11-02" in shown.out
    assert "█" * 60 in shown.out
    assert "USER" in shown.out
    assert "alice" in shown.out
    assert "other" in shown.out
    assert "There are more groups" in shown.err
    assert "Retention has erased records" in shown.err
    period_of_all = {"start": "2026-11-01", "end": "2026-11-30"}
    assert [query for _, _, query in stub.asked] == [
        {**period_of_all, "step": "day"},
        {**period_of_all, "group_by": "user"},
    ]


def test_json_and_csv_come_alone(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents["/me/usage"] = DOCUMENT
    assert json.loads(taskforce("usage", "--mine", "--json", "--time-zone", "UTC").out) == DOCUMENT
    assert stub.asked[-1] == ("GET", "/me/usage", {"time_zone": "UTC", "step": "day"})
    stub.answers[PATH] = Response("start,end\r\n", media_type="text/csv")
    assert taskforce("usage", "--csv", "--by", "user,tag:x").out == "start,end\n"
    assert stub.asked[-1] == ("GET", PATH, {"group_by": "user,tag:x"})
    assert taskforce("usage", "--csv", "--json").code == Exit.USAGE


def test_a_refusal_is_told(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[PATH] = problem(422, "dimension_unknown", "Usage has these dimensions: user.")
    done = taskforce("usage", "--by", "planet")
    assert (done.code, "dimension_unknown" in done.err) == (Exit.USAGE, True)


REFUSED = problem(403, "permission_denied", "This needs the permission audit:read.", permission="audit:read")


def test_who_may_not_see_everybodys_usage_is_shown_their_own(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[PATH] = REFUSED
    stub.documents["/me/usage"] = DOCUMENT
    shown = taskforce("usage", "--by", "model")
    assert shown.code == Exit.OK, shown.err
    assert "your own usage" in shown.err
    assert "1,234 tokens" in shown.out
    assert [(path, query) for _, path, query in stub.asked] == [
        (PATH, {"step": "day"}),
        ("/me/usage", {"step": "day"}),
        ("/me/usage", {"group_by": "model"}),
    ]


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_program_is_told_instead_for_it_would_take_a_part_for_the_whole(
    gateway: Serve, taskforce: Cli, form: str
) -> None:
    stub = gateway([])
    stub.answers[PATH] = REFUSED
    done = taskforce("usage", form)
    assert (done.code, "--mine" in done.err) == (Exit.REFUSED, True)
    assert [path for _, path, _ in stub.asked] == [PATH]


def test_counts_of_which_there_are_none_have_no_column(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    sums = {**SUMS, "failed": 0, "cached_tokens": 0, "wasted_tokens": 0, "unpriced": 0}
    stub.documents[PATH] = {**DOCUMENT, "items": [{"dimensions": {"user": "alice"}, "sums": sums}]}
    head = next(line for line in taskforce("usage", "--by", "user").out.splitlines() if line.startswith("USER"))
    assert head.split() == ["USER", "RECORDS", "INPUT", "OUTPUT", "COST"]
