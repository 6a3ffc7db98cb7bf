"""`taskforce prices`: lists a tenant's own prices, sets and removes them, and shows which price is in force."""

from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.exits import Exit, Trouble
from cli.groups import command_group
from cli.options import AsJson, Token, Url

if TYPE_CHECKING:
    from datetime import datetime

    from cli.documents import Document

_PATH: Final = "/admin/prices"
_PAGE: Final = 100
_OF_TOKENS: Final = frozenset({"model", "embedding"})
_COUNTED: Final = {"model": "tokens", "embedding": "tokens", "storage": "byte-hours", "api_call": "calls"}


class PricedResource(StrEnum):
    """Resources that have prices."""

    MODEL = "model"
    EMBEDDING = "embedding"
    TOOL = "tool"
    RAG_QUERY = "rag_query"
    STORAGE = "storage"
    API_CALL = "api_call"
    AGENT_EXECUTION = "agent_execution"


class Per(StrEnum):
    """The number of tokens or units that amounts are for."""

    ONE = "1"
    THOUSAND = "1K"
    MILLION = "1M"
    BILLION = "1G"


Name = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]",
        help="The model, as calls name it; the tool, index or agent, all of them without.",
        show_default=False,
    ),
]
OfResource = Annotated[PricedResource, typer.Option("--resource", help="What is priced.")]
Amounts = Annotated[
    list[str],
    typer.Argument(
        metavar="PART=AMOUNT...",
        help="Amounts: input=2.50 output=10 cached=1.25 ... of a model, input=0.02 of an embedding model, each=0.01 "
        "of everything else.",
        show_default=False,
    ),
]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="At this time, as 2026-01-31T00:00:00Z.")]

app = command_group("prices", "Prices of your tenant's own, and the price that is in force.")


@app.command("list")
def list_prices(
    name: Name = "",
    *,
    resource: Annotated[PricedResource | None, typer.Option("--resource", help="Of this only.")] = None,
    at: At = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Lists the prices that your tenant has set, ended ones included."""
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    reported(_list)(name=name, resource=resource, at=at, as_json=as_json, url=url, token=token)


@app.command()
def show(
    name: Name = "",
    *,
    resource: OfResource = PricedResource.MODEL,
    at: At = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Shows the price that is in force, and where it comes from: your tenant, or the map of the installation."""
    from cli.reporting import reported

    reported(_show)(name=name, resource=resource, at=at, as_json=as_json, url=url, token=token)


@app.command("set")
def set_price(
    name: Annotated[str, typer.Argument(metavar="NAME", help='The model, tool, index or agent; "" for all.')],
    amounts: Amounts,
    *,
    per: Annotated[Per, typer.Option("--per", help="How many tokens or units the amounts are for.")],
    resource: OfResource = PricedResource.MODEL,
    currency: Annotated[str, typer.Option("--currency", help="A code of ISO 4217.")] = "USD",
    tier: Annotated[
        list[str] | None,
        typer.Option("--tier", metavar="ABOVE:PART=AMOUNT,...", help="Prices of larger prompts, as 200000:input=5."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="In force from then on; else now.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="In force until then.")] = None,
    notes: Annotated[str, typer.Option("--notes", help="A remark for people.")] = "",
    custom: Annotated[
        bool, typer.Option("--custom", help="It is a model of your own, that nobody else knows.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="End the price before it where this one begins.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Sets a price, which counts from the next step of every run on; what is recorded keeps its cost."""
    from cli.reporting import reported

    body: dict[str, object] = {
        "resource": str(resource),
        "name": name,
        "currency": currency,
        "unit": str(per),
        "valid_from": since,
        "valid_until": until,
        "notes": notes,
        "custom": custom,
        "ends_previous": replace,
    }
    reported(_set)(body, amounts, tier or [], as_json=as_json, url=url, token=token)


@app.command()
def remove(
    price_id: Annotated[str, typer.Argument(metavar="PRICE", help="The id of the price.")],
    *,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Removes a price; what is recorded keeps its cost."""
    from cli.reporting import reported

    reported(_remove)(price_id, as_json=as_json, url=url, token=token)


def _list(
    *, name: str, resource: PricedResource | None, at: str | None, as_json: bool, url: str | None, token: str | None
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    gateway, found, cursor = open_gateway(url, token), list["Document"](), None
    chosen = {"name": name or None, "resource": None if resource is None else str(resource), "at": at}
    while True:
        page = gateway.get(_PATH, limit=_PAGE, cursor=cursor, **chosen)
        found += page.items("items")
        cursor = page.text("next_cursor") or None
        if cursor is None:
            break
    if as_json:
        write_json({"items": [one.raw for one in found], "next_cursor": None})
        return
    if not found:
        typer.echo("No price of your own: those of the installation are in force, see `taskforce prices show MODEL`.")
    for one in found:
        _print(one)


def _show(
    *, name: str, resource: PricedResource, at: str | None, as_json: bool, url: str | None, token: str | None
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    found = open_gateway(url, token).get(f"{_PATH}/effective", name=name, resource=str(resource), at=at)
    if as_json:
        write_json(found.raw)
    else:
        _print_effective(found)


def _set(
    body: dict[str, object],
    amounts: list[str],
    tiers: list[str],
    *,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    from cli.gateway import open_gateway
    from cli.terminal import write_json

    whole = {**body, "prices": _amounts(amounts), "tiers": [_tier(one) for one in tiers]}
    made = open_gateway(url, token).post(_PATH, whole)
    if as_json:
        write_json(made.raw)
    else:
        _print(made)


def _remove(price_id: str, *, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import item_path, open_gateway
    from cli.terminal import write_json

    open_gateway(url, token).delete(item_path(_PATH, price_id))
    if as_json:
        write_json({"removed": True})
    else:
        typer.echo("Removed, from the next step of every run on.")


def _amounts(texts: list[str]) -> dict[str, str]:
    parted = [text.partition("=") for text in texts]
    if not all(part and equals and amount for part, equals, amount in parted):
        raise Trouble(Exit.USAGE, "amount_missing", "Amounts are written as input=2.50 output=10.")
    return {part: amount for part, _, amount in parted}


def _tier(text: str) -> dict[str, object]:
    above, _, amounts = text.partition(":")
    if not (above.isascii() and above.isdigit() and amounts):
        raise Trouble(Exit.USAGE, "tier_malformed", "A tier is written as 200000:input=5,output=15.")
    return {"above": int(above), "prices": _amounts(amounts.split(","))}


def _print(price: "Document") -> None:
    from cli.render import print_folded
    from cli.terminal import console

    out, resource = console(), price.exact("resource")
    what = price.exact("name") or "all"
    counted = _COUNTED.get(resource, "times")
    print_folded(out, "", f"{what}  {resource}, {price.exact('currency')} per {price.exact('unit')} {counted}")
    print_folded(out, "  ", _line(price.child("prices")))
    for tier in price.items("tiers"):
        print_folded(out, "  ", f"above {tier.number('above'):,} tokens: {_line(tier.child('prices'))}")
    ends = price.time("valid_until")
    until = "" if ends is None else f" until {_date(ends)}"
    print_folded(out, "  ", f"from {_date(price.time('valid_from'))}{until}, set by {price.exact('created_by')}")
    if price.exact("notes"):
        print_folded(out, "  ", price.exact("notes"))
    print_folded(out, "  ", price.exact("price_id"))


def _print_effective(price: "Document") -> None:
    from cli.render import print_folded
    from cli.terminal import console

    out, resource = console(), price.exact("resource")
    many = resource in _OF_TOKENS
    shown, per = ("per_1m", "1M tokens") if many else ("each", _COUNTED.get(resource, "time"))
    where = _source(price.exact("source"))
    print_folded(out, "", f"{price.exact('name') or 'all'}  {price.exact('currency')} per {per}, {where}")
    print_folded(out, "  ", _line(price.child(shown)))
    for tier in price.items("tiers"):
        print_folded(out, "  ", f"above {tier.number('above'):,} tokens: {_line(tier.child('prices'))}")
    notes = price.raw.get("notes")
    for note in notes if isinstance(notes, list) else []:
        print_folded(out, "  ", str(note))


def _date(at: "datetime | None") -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _source(source: str) -> str:
    kind, _, rest = source.partition(":")
    told = {"tenant": f"your tenant's price {rest}", "litellm": f"the bundled map of LiteLLM {rest}"}
    return told.get(kind, "free, for it runs here")


def _line(amounts: "Document") -> str:
    return "  ".join(f"{part.replace('_', ' ')} {amounts.exact(part)}" for part in amounts.raw)
