"""`taskforce budgets`: lists budgets with what is left of them, makes, changes, shows and removes them."""

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.groups import command_group
from cli.options import AsCsv, AsJson, Token, Url, check_one_form
from taskforce.core.domain.csv_cells import cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.documents import Document

_PATH: Final = "/admin/budgets"
_PAGE: Final = 100
_CELLS: Final = 24
_OF_BUDGET: Final = ("budget_id", "name", "scope", "scope_id", "unit", "currency", "period", "on_exceed")
_OF_LEDGER: Final = ("subject", "period_start", "limit", "raised_by", "spent", "reserved", "left", "soft_passed")
_FREE_TEXTS: Final = frozenset({"name", "scope_id", "subject"})


class Scope(StrEnum):
    """Whose use a budget counts."""

    TENANT = "tenant"
    DEPARTMENT = "department"
    USER = "user"
    AGENT = "agent"
    SESSION = "session"
    RUN = "run"


class Period(StrEnum):
    """The time that a ledger of a budget counts."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"


class OnExceed(StrEnum):
    """The reaction at the limit of a budget."""

    ASK = "ask"
    STOP = "stop"


BudgetId = Annotated[str, typer.Argument(metavar="BUDGET", help="The id of the budget.")]

app = command_group("budgets", "Budgets of money, tokens and runs, and what is left of them.")


@app.command("list")
def list_budgets(
    *,
    mine: Annotated[bool, typer.Option("--mine", help="Those that your own runs draw on.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists budgets with a bar of what is spent, reserved and left; as CSV a ledger a line."""
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    reported(_list)(mine=mine, as_json=as_json, as_csv=as_csv, url=url, token=token)


@app.command("set")
def set_budget(
    name: Annotated[str, typer.Argument(help="Its name, for people.")],
    limit: Annotated[str, typer.Argument(help="What may be used in a period: 100USD, 5000000tokens or 20runs.")],
    *,
    budget: Annotated[str | None, typer.Option("--change", metavar="BUDGET", help="Change this one.")] = None,
    scope: Annotated[Scope, typer.Option("--scope", help="Whose use it counts.")] = Scope.TENANT,
    scope_id: Annotated[
        str, typer.Option("--of", metavar="ID", help="Of this one only; each has a ledger of its own without.")
    ] = "*",
    period: Annotated[Period, typer.Option("--per", help="How long a ledger counts.")] = Period.MONTH,
    soft: Annotated[str, typer.Option("--soft", help="The share of the limit at which people are told.")] = "0.8",
    on_exceed: Annotated[OnExceed, typer.Option("--on-exceed", help="Ask for a raise, or end the run.")] = OnExceed.ASK,
    unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Models without a known price may be called, at no cost to it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also below what is spent already.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Makes a budget, or changes one; it counts what is used from the next step of every run on."""
    from cli.reporting import reported

    body: dict[str, object] = {
        "name": name,
        "scope": str(scope),
        "scope_id": scope_id,
        "period": str(period),
        "soft": soft,
        "on_exceed": str(on_exceed),
        "unpriced": "allow" if unpriced else "refuse",
    }
    reported(_set)(body, limit, budget, force=force, as_json=as_json, url=url, token=token)


@app.command()
def show(budget_id: BudgetId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Shows a budget with all of its ledgers of the current period."""
    from cli.reporting import reported

    reported(_show)(budget_id, as_json=as_json, url=url, token=token)


@app.command()
def delete(budget_id: BudgetId, *, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Removes a budget; what was used stands in the usage records."""
    from cli.reporting import reported

    reported(_delete)(budget_id, as_json=as_json, url=url, token=token)


def _list(*, mine: bool, as_json: bool, as_csv: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_csv, write_json

    check_one_form(as_json=as_json, as_csv=as_csv)
    gateway = open_gateway(url, token)
    if mine:
        found = gateway.get("/me/budgets").items("items")
    else:
        found, cursor = list["Document"](), None
        while True:
            page = gateway.get(_PATH, limit=_PAGE, cursor=cursor)
            found += page.items("items")
            cursor = page.text("next_cursor") or None
            if cursor is None:
                break
    if as_json:
        write_json({"items": [one.raw for one in found], "next_cursor": None})
        return
    if as_csv:
        write_csv([*_OF_BUDGET, *_OF_LEDGER], (row for one in found for row in _rows(one, mine=mine)))
        return
    if not found:
        typer.echo("No budget: nothing but the limits of runs bounds what is used.")
    for one in found:
        if mine:
            _print_ledger(one)
        else:
            _print(one)


def _rows(one: "Document", *, mine: bool) -> "Iterator[list[object]]":
    """Yields a row for each ledger; one of a budget that nobody has used yet is without a ledger, but for its limit."""
    ledgers = [one.raw] if mine else [{**one.raw, **ledger.raw} for ledger in one.items("ledgers")]
    for values in ledgers or [one.raw]:
        yield [_cell(name, values.get(name)) for name in (*_OF_BUDGET, *_OF_LEDGER)]


def _cell(name: str, value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return cell(value) if name in _FREE_TEXTS and isinstance(value, str) else value


def _set(
    body: dict[str, object],
    limit: str,
    budget: str | None,
    *,
    force: bool,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    from cli.gateway import item_path, open_gateway
    from cli.terminal import write_json

    whole, gateway = {**body, **_limit(limit)}, open_gateway(url, token)
    if budget is None:
        made = gateway.post(_PATH, whole)
    else:
        asked = "?force=true" if force else ""
        made = gateway.put(f"{item_path(_PATH, budget)}{asked}", whole)
    if as_json:
        write_json(made.raw)
    else:
        _print(made)


def _show(budget_id: str, *, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import item_path, open_gateway
    from cli.terminal import write_json

    found = open_gateway(url, token).get(item_path(_PATH, budget_id))
    if as_json:
        write_json(found.raw)
    else:
        _print(found)


def _delete(budget_id: str, *, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import item_path, open_gateway
    from cli.terminal import write_json

    open_gateway(url, token).delete(item_path(_PATH, budget_id))
    if as_json:
        write_json({"removed": True})
    else:
        typer.echo("Removed. What was used stands in the usage records.")


def _limit(text: str) -> dict[str, object]:
    """Parses a limit with its unit; the gateway checks amount and currency."""
    from cli.exits import Exit, Trouble

    unit = text.lstrip("+-0123456789._").strip()
    amount = text[: len(text) - len(unit)].strip().replace("_", "")
    if not amount or not unit:
        raise Trouble(Exit.USAGE, "limit_malformed", "A limit is written as 100USD, 5000000tokens or 20runs.")
    if unit in {"tokens", "runs"}:
        return {"limit": amount, "unit": unit}
    return {"limit": amount, "unit": "money", "currency": unit}


def _print(budget: "Document") -> None:
    from cli.render import print_folded
    from cli.terminal import console

    out = console()
    whose = budget.exact("scope") + (f" {budget.exact('scope_id')}" if budget.exact("scope_id") else "")
    print_folded(
        out,
        "",
        f"{budget.exact('name')}  {budget.exact('limit')} {_unit(budget)} per {budget.exact('period')}, {whose}, "
        f"at the limit: {budget.exact('on_exceed')}",
    )
    for ledger in budget.items("ledgers"):
        _print_ledger(ledger, named=False)
    print_folded(out, "  ", budget.exact("budget_id"))


def _print_ledger(ledger: "Document", *, named: bool = True) -> None:
    from cli.render import print_folded
    from cli.terminal import console

    what = ledger.exact("name") if named else ledger.exact("subject") or "all"
    amounts = [f"{name} {ledger.exact(name)}" for name in ("spent", "reserved", "left")]
    mark = ", past the soft limit" if ledger.flag("soft_passed") else ""
    print_folded(console(), "  ", f"{bar(ledger)} {what}  {'  '.join(amounts)} {_unit(ledger)}{mark}")


def bar(ledger: "Document") -> str:
    """Draws what of a ledger is spent (full), reserved (shaded) and left (light), in a fixed number of cells."""
    limit, spent, reserved = (_amount(ledger.exact(name)) for name in ("limit", "spent", "reserved"))
    if limit <= 0:
        return "█" * _CELLS
    full = min(int(spent * _CELLS / limit), _CELLS)
    shaded = min(int((spent + reserved) * _CELLS / limit), _CELLS) - full
    return "█" * full + "▒" * shaded + "░" * (_CELLS - full - shaded)


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def _unit(found: "Document") -> str:
    return found.exact("currency") or found.exact("unit")
