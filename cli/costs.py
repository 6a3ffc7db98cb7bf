"""`taskforce costs`: what a period has cost, with bars; and reports of it, which are adjusted and issued."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.groups import command_group
from cli.options import AsCsv, AsJson, Token, Url

if TYPE_CHECKING:
    from cli.documents import Document
    from cli.gateway import Gateway

_PATH: Final = "/admin/costs"
_DAYS: Final = "/admin/usage/aggregation"
_REPORTS: Final = f"{_PATH}/reports"
_PAGE: Final = 100
_CSV: Final = "text/csv"

By = Annotated[
    str | None,
    typer.Option("--by", help="Dimensions, with a comma: department, cost_center, agent, user, model, tag:KEY."),
]
Start = Annotated[
    str | None,
    typer.Option("--from", help="From when on, as of `taskforce usage`; this month by default.", show_default=False),
]
End = Annotated[
    str | None, typer.Option("--to", help="Until when, that day within; now by default.", show_default=False)
]
Zone = Annotated[str | None, typer.Option("--time-zone", help="Of days; the tenant's by default.", show_default=False)]
Focus = Annotated[
    Path | None,
    typer.Option(
        "--focus", metavar="FILE", help="Write the charges to a file, as FOCUS 1.2 has them.", show_default=False
    ),
]
Report = Annotated[
    str, typer.Argument(metavar="REPORT", help="The report's id, or a unique beginning of 8 characters or more.")
]

app = command_group("costs", "What a period has cost, and reports of it.")


@app.callback(invoke_without_command=True, no_args_is_help=False)
def costs(
    context: typer.Context,
    *,
    by: By = None,
    start: Start = None,
    end: End = None,
    zone: Zone = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    focus: Focus = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows what a period has cost, with a bar for each day and for each group."""
    if context.invoked_subcommand is not None:
        sources = (context.get_parameter_source(name) for name in context.params)
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            context.fail(f"Put options after the command: taskforce costs {context.invoked_subcommand} --...")
        return
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    asked = {"start": start, "end": end, "time_zone": zone, "group_by": by}
    reported(_preview)(asked, as_json=as_json, as_csv=as_csv, focus=focus, url=url, token=token)


@app.command()
def report(
    *,
    start: Annotated[str, typer.Option("--from", help="From when on: 2026-11, 2026-11-05 or 7d.")],
    end: End = None,
    by: By = None,
    zone: Zone = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Makes a draft of a report, which can be adjusted until it is issued."""
    from cli.reporting import reported

    asked = {"start": start, "end": end, "time_zone": zone, "group_by": by}
    reported(_report)(asked, as_json=as_json, url=url, token=token)


@app.command()
def adjust(
    report_id: Report,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="The amount; after -- if negative: a discount.")],
    *,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept with the report.")],
    currency: Annotated[str, typer.Option("--currency", help="A code of ISO 4217.")] = "USD",
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Adds a discount, credit or surcharge to a draft."""
    from cli.reporting import reported

    body = {"amount": amount, "currency": currency, "reason": reason}
    reported(_change)("/adjustments", body, report_id, as_json=as_json, url=url, token=token)


@app.command()
def issue(report_id: Report, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Issues a draft: from then on nothing of it changes."""
    from cli.reporting import reported

    reported(_change)("/issue", {}, report_id, as_json=as_json, url=url, token=token)


@app.command("list")
def list_reports(*, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Lists the reports, newest first."""
    from cli.reporting import reported

    reported(_list)(as_json=as_json, url=url, token=token)


@app.command()
def show(
    report_id: Report,
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    focus: Focus = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows a report, or writes it to a file."""
    from cli.reporting import reported

    reported(_read)(report_id, as_json=as_json, as_csv=as_csv, focus=focus, url=url, token=token)


def _preview(
    asked: dict[str, str | None],
    *,
    as_json: bool,
    as_csv: bool,
    focus: Path | None,
    url: str | None,
    token: str | None,
) -> None:
    from cli.usage import period

    query = {**asked, **period(asked["start"], asked["end"], datetime.now(UTC), asked["time_zone"])}
    _read(None, query, as_json=as_json, as_csv=as_csv, focus=focus, url=url, token=token)


def _read(
    report_id: str | None,
    query: dict[str, str | None] | None = None,
    *,
    as_json: bool,
    as_csv: bool,
    focus: Path | None,
    url: str | None,
    token: str | None,
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import complain, write_json

    asked = query or {}
    if as_json + as_csv + (focus is not None) > 1:
        raise Trouble(Exit.USAGE, "options_conflict", "Ask for one of JSON, CSV and a FOCUS file.")
    gateway = open_gateway(url, token)
    path = _PATH if report_id is None else _report_path(gateway, report_id)
    if as_csv:
        sys.stdout.write(_downloaded(gateway, path, "csv", asked))
        sys.stdout.flush()
    elif focus is not None:
        _write(focus, _downloaded(gateway, path, "focus", asked))
        complain(f"The charges are in {focus}.", "dim")
    elif as_json:
        write_json(gateway.get(path, **asked).raw)
    else:
        report = gateway.get(path, **asked)
        by_day = {**asked, "group_by": None, "step": "day"}
        _print(report, gateway.get(_DAYS, **by_day) if report_id is None and report.items("totals") else None)


def _report(asked: dict[str, str | None], *, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.usage import period

    bounds = period(asked["start"], asked["end"], datetime.now(UTC), asked["time_zone"])
    if bounds["end"] is None:
        raise Trouble(Exit.USAGE, "end_missing", "A report has an end: add --to, or name a month, as --from 2026-11.")
    names = [name.strip() for name in (asked["group_by"] or "").split(",") if name.strip()]
    body: dict[str, object] = {**bounds, "time_zone": asked["time_zone"], "group_by": names}
    _change(f"{_PATH}/report", body, as_json=as_json, url=url, token=token)


def _change(
    path: str,
    body: dict[str, str] | dict[str, object],
    report_id: str | None = None,
    *,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    gateway = open_gateway(url, token)
    found = gateway.post(path if report_id is None else _report_path(gateway, report_id) + path, body)
    if as_json:
        write_json(found.raw)
    else:
        _print(found)


def _list(*, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.costs_view import reports_table
    from cli.gateway import open_gateway
    from cli.terminal import console, write_json

    gateway, found, cursor = open_gateway(url, token), list["Document"](), None
    while True:
        page = gateway.get(_REPORTS, limit=_PAGE, cursor=cursor)
        found += page.items("items")
        cursor = page.text("next_cursor") or None
        if cursor is None:
            break
    if as_json:
        write_json({"items": [one.raw for one in found], "next_cursor": None})
    elif found:
        out = console()
        out.print(reports_table(found, out.width))
    else:
        typer.echo("No report yet: make one with `taskforce costs report --from 2026-11`.")


def _print(found: "Document", days: "Document | None" = None) -> None:
    from cli.costs_view import report_view
    from cli.terminal import console

    out = console()
    for part in report_view(found, out.width, days):
        out.print(part)


def _downloaded(gateway: "Gateway", path: str, form: str, query: dict[str, str | None]) -> str:
    with gateway.download(path, accept=_CSV, format=form, **query) as (_, pieces):
        return b"".join(pieces).decode()


def _write(file: Path, text: str) -> None:
    try:
        # Lines end as they came: RFC 4180 has CRLF.
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Trouble(Exit.USAGE, "file_not_written", f"{file} cannot be written: {error.strerror}.") from None


def _report_path(gateway: "Gateway", report_id: str) -> str:
    return f"{_REPORTS}/{gateway.resolve(report_id, _REPORTS, 'report_id')}"
