"""`taskforce usage`: what was used, a bar a day and a table by dimensions."""

import re
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.documents import Document
from cli.exits import Exit, Trouble
from cli.options import AsCsv, AsJson, Token, Url, check_one_form
from cli.terminal import complain, console, write_json
from taskforce.core.domain.time_zones import parse_time_zone

if TYPE_CHECKING:
    from cli.gateway import Gateway

_AGO: Final = re.compile(r"([1-9][0-9]{0,3})([dh])")
_MONTH: Final = re.compile(r"([0-9]{4})-([0-9]{2})")
_DAY_NAMES: Final = {"today": 0, "yesterday": 1}
_QUARTER: Final = timedelta(minutes=15)
_CSV: Final = "text/csv"
_JSON: Final = "application/json"
_ALL: Final = "/admin/usage/aggregation"
_OWN: Final = "/me/usage"
_FORMS: Final = "7d, 24h, today, yesterday, 2026-11, 2026-11-05, or a time with its zone"


def usage(
    *,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Dimensions, with commas: user, agent, model, tool, department, tag:KEY and others."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help=f"From when on: {_FORMS}; this month by default.", show_default=False)
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Until when, that day within; now by default.", show_default=False),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--time-zone", help="Of days; the tenant's by default.", show_default=False)
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own; needs no right.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows what was used: tokens, calls and cost, a bar a day; with --by a table, too.

    With --json and --csv one aggregation is printed: by day, or with --by for the whole period. Whoever may not see the
    usage of everybody is shown their own.
    """
    from cli.gateway import open_gateway

    check_one_form(as_json=as_json, as_csv=as_csv)
    asked = {**period(start, end, datetime.now(UTC), zone), "time_zone": zone}
    gateway, form = open_gateway(url, token), _CSV if as_csv else _JSON if as_json else None
    if mine:
        _answer(gateway, _OWN, asked, by=by, form=form)
        return
    try:
        _answer(gateway, _ALL, asked, by=by, form=form)
    except Trouble as refused:
        if refused.code != "permission_denied":
            raise
        if form is not None:
            # A program must not take a part for the whole.
            refused.hint = "With --mine it is your own usage, which needs no right."
            raise
        complain("This is your own usage. That of everybody needs the right audit:read.", "yellow")
        _answer(gateway, _OWN, asked, by=by, form=None)


def _answer(gateway: "Gateway", path: str, asked: dict[str, str | None], *, by: str | None, form: str | None) -> None:
    grouped = {"group_by": by} if by else {"step": "day"}
    if form == _CSV:
        _write_csv(gateway, path, {**asked, **grouped})
    elif form == _JSON:
        write_json(gateway.get(path, **asked, **grouped).raw)
    else:
        _show(gateway.get(path, **asked, step="day"), gateway.get(path, **asked, group_by=by) if by else None)


def period(start: str | None, end: str | None, now: datetime, zone: str | None = None) -> dict[str, str | None]:
    """Returns the parameters of a period.

    Args:
        start: The beginning, in one of the forms that people write; None for this month's.
        end: The end; None for now, or for the end of the month that `start` names.
        now: The time, UTC.
        zone: IANA name of the time zone whose today it is; None for UTC.

    Raises:
        Trouble: A form is not known.
        Invalid: `time_zone_unknown`.
    """
    today = now.astimezone(parse_time_zone(zone)).date() if zone else now.date()
    if end is None and start and (_MONTH.fullmatch(start) or start in _DAY_NAMES):
        end = start
    return {
        "start": start and _bound(start, now, today, last=False),
        "end": end and _bound(end, now, today, last=True),
    }


def _bound(text: str, now: datetime, today: date, *, last: bool) -> str:
    if text in _DAY_NAMES:
        return str(today - timedelta(days=_DAY_NAMES[text]))
    if found := _AGO.fullmatch(text):
        number = int(found[1])
        if found[2] == "d":
            # Today is one of them.
            return str(today - timedelta(days=number - 1))
        begun = datetime.min.replace(tzinfo=UTC)
        return (now - (now - begun) % _QUARTER - timedelta(hours=number)).isoformat()
    try:
        if found := _MONTH.fullmatch(text):
            return str(_month(int(found[1]), int(found[2]), last=last))
        datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Trouble(Exit.USAGE, "time_invalid", f"There is no such time. Known forms: {_FORMS}.") from None
    return text


def _month(year: int, month: int, *, last: bool) -> date:
    first = date(year, month, 1)
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1) if last else first


def _write_csv(gateway: "Gateway", path: str, query: dict[str, str | None]) -> None:
    with gateway.download(path, accept=_CSV, **query) as (_, pieces):
        for piece in pieces:
            sys.stdout.write(piece.decode())
    sys.stdout.flush()


def _show(days: Document, grouped: Document | None) -> None:
    from cli.usage_view import bars, summary, table

    out = console()
    out.print(summary(days))
    out.print(bars(days, out.width))
    if grouped is not None:
        out.print()
        out.print(table(grouped))
        if grouped.flag("truncated"):
            complain("There are more groups than are shown; `other` is the rest of them.", "dim")
        if not grouped.flag("whole", default=True):
            complain("Retention has erased records of this period: these sums lack them.", "yellow")
