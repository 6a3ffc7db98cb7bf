"""`taskforce prices`, against a scripted gateway."""

import json
from collections.abc import Callable

from starlette.responses import JSONResponse, Response

from tests.cli.conftest import Done
from tests.cli.stub_gateway import AT, Entry, StubGateway, problem

Serve = Callable[[list[Entry]], StubGateway]
Cli = Callable[..., Done]
PATH = "/admin/prices"
PRICE = {
    "price_id": "p-1",
    "resource": "model",
    "name": "openai/gpt-4o\u202e",
    "currency": "EUR",
    "unit": "1M",
    "prices": {"input": "2.5", "output": "10"},
    "tiers": [{"above": 200_000, "prices": {"input": "5"}}],
    "valid_from": AT,
    "valid_until": None,
    "notes": "EA",
    "created_by": "ada",
    "created_at": AT,
}
EFFECTIVE = {
    "resource": "model",
    "name": "gpt-4o",
    "currency": "USD",
    "source": "litellm:1.2.3",
    "each": {"input": "0.0000025"},
    "per_1k": {"input": "0.0025"},
    "per_1m": {"input": "2.5", "cache_write": "2.5"},
    "tiers": [],
    "valid_from": None,
    "valid_until": None,
    "notes": ["An image costs more."],
}


def test_prices_are_listed_as_they_were_stated(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[PATH] = {"items": [], "next_cursor": None}
    assert taskforce("prices", "list").out.startswith("No price of your own")
    stub.documents[PATH] = {"items": [PRICE, {**PRICE, "resource": "tool", "name": ""}], "next_cursor": None}
    shown = taskforce("prices", "list", "openai/gpt-4o", "--resource", "model").out
    for part in (
        r"openai/gpt-4o\u202e  model, EUR per 1M tokens",
        "  input 2.5  output 10",
        "  above 200,000 tokens: input 5",
        "set by ada",
        "all  tool, EUR per 1M times",
        "  p-1",
    ):
        assert part in shown
    assert json.loads(taskforce("prices", "list", "--json").out)["items"][0] == PRICE


def test_the_price_in_force_is_shown_with_its_source(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.documents[f"{PATH}/effective"] = EFFECTIVE
    shown = taskforce("prices", "show", "gpt-4o").out
    assert "gpt-4o  USD per 1M tokens, the bundled map of LiteLLM 1.2.3\n" in shown
    assert "  input 2.5  cache write 2.5\n  An image costs more.\n" in shown
    stub.documents[f"{PATH}/effective"] = {**EFFECTIVE, "source": "tenant:p-1"}
    assert "your tenant's price p-1" in taskforce("prices", "show", "gpt-4o").out
    assert json.loads(taskforce("prices", "show", "gpt-4o", "--json").out)["source"] == "tenant:p-1"


def test_a_price_is_set_with_tiers_and_removed(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[PATH] = JSONResponse(PRICE, 201)
    amounts = ("input=2.5", "output=10", "--per", "1M", "--tier", "200000:input=5,output=20")
    done = taskforce("prices", "set", "openai/gpt-4o", *amounts, "--currency", "EUR", "--replace", "--json")
    assert json.loads(done.out) == PRICE
    ((_, _, body),) = stub.asked
    assert (body["prices"], body["unit"], body["ends_previous"]) == ({"input": "2.5", "output": "10"}, "1M", True)
    assert body["tiers"] == [{"above": 200_000, "prices": {"input": "5", "output": "20"}}]
    stub.answers[f"{PATH}/p-1"] = Response(status_code=204)
    assert "Removed" in taskforce("prices", "remove", "p-1").out


def test_what_is_malformed_is_not_sent(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    for arguments in (
        ("m", "input", "--per", "1M"),
        ("m", "=1", "--per", "1M"),
        ("m", "input=1", "--per", "1B"),
        ("m", "input=1"),
        ("m", "input=1", "--per", "1M", "--tier", "many:input=1"),
        ("m", "input=1", "--per", "1M", "--tier", "5"),
    ):
        assert taskforce("prices", "set", *arguments).code == 2
    assert stub.asked == []


def test_an_error_of_the_gateway_is_told_with_its_hint(gateway: Serve, taskforce: Cli) -> None:
    stub = gateway([])
    stub.answers[PATH] = problem(422, "model_unknown", "No model 'gtp' is known. Did you mean gpt?")
    done = taskforce("prices", "set", "gtp", "input=1", "output=1", "--per", "1M")
    assert done.code != 0
    assert "Did you mean gpt?" in done.err
