"""What effects cost is fixed when they are recorded, at no query of its own."""

from collections.abc import Callable
from decimal import Decimal

from taskforce.application.identity.principals import Actor
from taskforce.application.metering.prices import PriceOptions, remove_price, set_price
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.application.runs.tool_checks import CLEARED_FOR
from taskforce.core.domain.metering.prices import Resource, Unit
from taskforce.core.domain.metering.tenant_prices import PriceTerms, TenantPrice
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.interfaces.llm import ModelCall, ModelReply, ModelRequest, ModelUnavailable, RequestedCall
from taskforce.infrastructure.llm.price_map import BundledPrices
from tests.fixtures.plans import watched
from tests.taskforce.application.scenario import Stage

COSTS = "usage_records ORDER BY step, call, attempt, part", "kind, cost, currency, price_source"
CACHED = TokenCounts(262_960, 1_744, cached=257_955)


class Answering:
    """A model that replies with calls to models of these names and tokens, and asks for a tool."""

    def __init__(self, *calls: ModelCall) -> None:
        self.calls = calls

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        del request, on_text
        return ModelReply("", (RequestedCall("c1", "echo", '{"text": "x"}'),), self.calls)


class Failing(Answering):
    """A model that fails after these calls."""

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        error = ModelUnavailable("model_unavailable", "It does not answer.")
        error.calls = self.calls
        raise error


def call(model: str, tokens: TokenCounts = CACHED, failed: str | None = None) -> ModelCall:
    return ModelCall(model, tokens, 5, failed)


async def priced(stage: Stage, resource: Resource, name: str, unit: Unit, **prices: str) -> TenantPrice:
    """Sets a price as an administrator does, from now on."""
    actor: Actor = stage.acting()
    terms = PriceTerms(resource, name, "EUR", unit, prices)
    return await set_price(stage.database, BundledPrices(), actor, terms, PriceOptions(custom=True, ends_previous=True))


async def step(stage: Stage, run_id: str, number: int, *calls: ModelCall, begins: bool = False) -> None:
    turn = ModelStepInput(stage.tenant_id, run_id, step=number, attempt=1, told=0 if begins else None)
    await stage.model_step(Answering(*calls)).run(turn)


async def test_a_call_costs_what_the_bundled_map_says_and_an_unknown_model_is_unpriced(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    free = call("offline/demo", TokenCounts(1_000, 1_000))
    await step(stage, run_id, 1, call("acme/unheard-of", failed="model_unavailable"), free, call("openai/gpt-4o"))
    unknown, demo, known = await stage.rows(*COSTS)
    assert unknown == ("model", None, None, None)
    assert demo == ("model", 0, "USD", "free")
    # 5,005 at 2.50, 257,955 at 1.25 and 1,744 at 10 a million.
    assert known[:3] == ("model", Decimal("0.35239625"), "USD")
    assert str(known[3]).startswith("litellm:")


async def test_tokens_of_a_failed_attempt_have_their_price_too(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    failing = stage.model_step(Failing(call("openai/gpt-4o", TokenCounts(1_000, 0), failed="model_unavailable")))
    try:
        await failing.run(ModelStepInput(stage.tenant_id, run_id, step=1, attempt=1))
    except ModelUnavailable:
        assert [row[1] for row in await stage.rows(*COSTS)] == [Decimal("0.0025")]
    else:
        raise AssertionError("The model does not answer.")


async def test_a_new_price_counts_from_the_next_step_on_and_changes_nothing_that_is_recorded(stage: Stage) -> None:
    run_id, one = (await stage.accepted()).run_id, call("openai/gpt-4o", TokenCounts(1_000, 0))
    await step(stage, run_id, 1, one)
    own = await priced(stage, Resource.MODEL, "gpt-4o", Unit.THOUSAND, input="0.7", output="1")
    await step(stage, run_id, 2, one)
    await remove_price(stage.database, stage.acting(), own.price_id)
    await step(stage, run_id, 3, one)
    assert [row[1:3] for row in await stage.rows(*COSTS)] == [
        (Decimal("0.0025"), "USD"),
        (Decimal("0.7"), "EUR"),
        (Decimal("0.0025"), "USD"),
    ]
    assert (await stage.rows(*COSTS))[1][3] == f"tenant:{own.price_id}"


async def test_tools_and_runs_cost_only_where_the_tenant_has_a_price(stage: Stage) -> None:
    free, charged = (await stage.accepted()).run_id, (await stage.accepted()).run_id
    for run_id in (free, charged):
        if run_id == charged:
            # The process has the prices of before, and the beginning of the run has these all the same.
            await priced(stage, Resource.TOOL, "", Unit.ONE, each="0.01")
            await priced(stage, Resource.AGENT_EXECUTION, "", Unit.THOUSAND, each="2.5")
        await step(stage, run_id, 1, call("offline/demo"), begins=True)
        await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    where = "usage_records WHERE run_id = '{}' ORDER BY step, call", COSTS[1]
    rows = {run_id: await stage.rows(where[0].format(run_id), where[1]) for run_id in (free, charged)}
    assert [row[:3] for row in rows[free]] == [("run", None, None), ("model", 0, "USD"), ("tool", None, None)]
    assert [row[:3] for row in rows[charged]] == [
        ("run", Decimal("0.0025"), "EUR"),
        ("model", 0, "USD"),
        ("tool", Decimal("0.01"), "EUR"),
    ]


async def test_a_run_begins_once_also_where_its_prices_are_stale(stage: Stage) -> None:
    first, run_id = (await stage.accepted()).run_id, (await stage.accepted()).run_id
    await step(stage, first, 1, call("offline/demo"), begins=True)
    await priced(stage, Resource.TOOL, "", Unit.ONE, each="0.01")
    await step(stage, run_id, 1, call("offline/demo"), begins=True)
    assert [event.type for event in await stage.events(run_id)].count("run.started") == 1


async def test_a_tool_that_waited_has_the_price_of_when_it_runs(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    await priced(stage, Resource.TOOL, "echo", Unit.ONE, each="1")
    await step(stage, run_id, 1, call("offline/demo"))
    stage.now += CLEARED_FOR * 2
    await priced(stage, Resource.TOOL, "echo", Unit.ONE, each="2")
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    assert (await stage.rows(*COSTS))[-1][:3] == ("tool", 2, "EUR")


async def test_prices_are_read_once_and_not_at_each_step(stage: Stage) -> None:
    run_id = (await stage.accepted()).run_id
    spec = await stage.run_cache.get(stage.tenant_id, run_id)

    async def statements() -> int:
        async with stage.database.tenant(stage.tenant_id) as records, watched(records) as sent:
            await stage.tool_call_policy.user(records, spec)
            await stage.prices.latest(records)
            return len(await sent.texts())

    counts = [await statements(), await statements()]
    await priced(stage, Resource.TOOL, "", Unit.ONE, each="0.01")
    # One more for prices, and one for budgets: both are as the tenant's revision says.
    assert [*counts, await statements(), await statements()] == [3, 1, 3, 1]
