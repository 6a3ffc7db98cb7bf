"""What the model's provider has counted is what usage, cost report and FOCUS file say: runs on real parts."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.api.gateway import ClientFor, Gateway, execute
from tests.api.sse import follow
from tests.fixtures.focus import assert_focus
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, call_until, status
from tests.fixtures.usage import rolled_up

PRICED, UNPRICED = "openai/scripted", "openai/nobody-knows"
# Amounts that are no round numbers, so that a rounding anywhere shows.
PRICES = {"input": Decimal("0.0000171"), "cached": Decimal("0.0000013"), "output": Decimal("0.0000977")}
PATHS = {"usage": "/api/v1/admin/usage/aggregation", "costs": "/api/v1/admin/costs"}


class Provider:
    """Answers as a provider that counts each call and its tokens, by model and part."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self._replies = call_until("calculator", lambda seen: {"expression": f"{seen}+1"}, 2)

    def reply(self, body: Body) -> Reply:
        model, messages = f"openai/{body['model']}", body["messages"]
        self.counted[model, "calls"] += 1
        if self.counted[model, "calls"] == 2:
            self.counted[model, "failed"] += 1
            return status(500)
        assert isinstance(messages, list)
        prompt, cached, answer = 101 * len(messages), 7 * len(messages), 11 + len(messages)
        for part, tokens in (("input", prompt - cached), ("cached", cached), ("output", answer)):
            self.counted[model, part] += tokens
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return replace(self._replies(body), usage=usage)

    def cost(self, model: str) -> Decimal:
        return sum((self.counted[model, part] * price for part, price in PRICES.items()), Decimal())


async def finished(client: httpx.AsyncClient, model: str, project: str) -> Mapping[str, Any]:
    """A run from its order to its end; the tokens that it tells of itself."""
    accepted = await execute(client, model=model, tags={"project": project})
    async for kind, data in follow(client, accepted["links"]["events"]):
        if kind == "run.finished":
            assert data["status"] == "completed", data
    tokens: Mapping[str, Any] = (await client.get(accepted["links"]["self"])).json()["tokens"]
    return tokens


@pytest.fixture
def admin(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "ada", ["admin"])


async def test_provider_usage_cost_report_and_focus_agree(
    working_gateway: Gateway,
    working_client_for: ClientFor,
    admin: httpx.AsyncClient,
    scripted: ScriptedLLM,
    tenant: str,
) -> None:
    provider = Provider()
    scripted.reply = provider.reply
    each = {part: str(price * 1_000_000) for part, price in PRICES.items()}
    price = {"name": PRICED, "currency": "USD", "unit": "1M", "prices": each, "custom": True}
    assert (await admin.post("/api/v1/admin/prices", json=price)).status_code == 201
    people = [working_client_for(tenant, user, ["operator"]) for user in ("olga", "otto")]
    told = await asyncio.gather(
        *(finished(people[number % 2], PRICED, f"p{number % 3}") for number in range(6)),
        finished(people[0], UNPRICED, "p0"),
    )
    for name, parts in (("input", ("input", "cached")), ("output", ("output",)), ("cached", ("cached",))):
        counted = sum(provider.counted[model, part] for model in (PRICED, UNPRICED) for part in parts)
        assert sum(one[name] for one in told) == counted, name
    before = await _reported(admin, provider)
    assert await rolled_up(working_gateway.parts.database, tenant, 1_000) > 0
    assert await _reported(admin, provider) == before


async def _reported(admin: httpx.AsyncClient, provider: Provider) -> Mapping[str, Any]:
    """Compares what all reports say; returns the sums by model."""
    found = (await admin.get(PATHS["usage"], params={"group_by": "model", "kind": "model"})).json()
    sums = {item["dimensions"]["model"]: item["sums"] for item in found["items"]}
    assert set(sums) == {PRICED, UNPRICED}
    for model, one in sums.items():
        counted = {part: provider.counted[model, part] for part in ("calls", "failed", *PRICES)}
        assert {"calls": one["records"], "failed": one["failed"], "output": one["output_tokens"]} | {
            "input": one["input_tokens"] - one["cached_tokens"],
            "cached": one["cached_tokens"],
        } == counted
    assert [Decimal(one["amount"]) for one in sums[PRICED]["costs"]] == [provider.cost(PRICED)]
    assert sums[UNPRICED]["costs"] == []
    for group_by in ("user", "tag:project", "agent,model"):
        await _agrees(admin, provider, group_by)
    return sums


async def _agrees(admin: httpx.AsyncClient, provider: Provider, group_by: str) -> None:
    asked = {"group_by": group_by}
    report = (await admin.get(PATHS["costs"], params=asked)).json()
    (total,) = report["totals"]
    assert Decimal(total["cost"]) == provider.cost(PRICED)
    assert abs(Decimal(total["total"]) - provider.cost(PRICED)) <= Decimal("0.005")
    for model, lines in ((PRICED, report["lines"]), (UNPRICED, report["unpriced"])):
        assert _tokens(lines) == {part: provider.counted[model, part] for part in PRICES}
    charges = assert_focus((await admin.get(PATHS["costs"], params={**asked, "format": "focus"})).text)
    table = (await admin.get(PATHS["costs"], params={**asked, "format": "csv"})).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert _added(one["ListCost"] for one in charges) == _added(row["cost"] for row in rows) == provider.cost(PRICED)
    assert _added(one["BilledCost"] for one in charges) == Decimal(total["total"])
    assert _added(row["amount"] for row in rows) == Decimal(total["total"])
    for part in PRICES:
        counted = sum(provider.counted[model, part] for model in (PRICED, UNPRICED))
        assert _added(one["ConsumedQuantity"] for one in charges if one["SkuMeter"] == part.title()) == counted


def _tokens(lines: list[dict[str, Any]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for line in lines:
        counted[line["part"]] += int(line["quantity"])
    return dict(counted)


def _added(amounts: Iterable[str | None]) -> Decimal:
    return sum((Decimal(amount or 0) for amount in amounts), Decimal())
