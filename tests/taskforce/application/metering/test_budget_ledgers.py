"""Budgets' ledgers on a real database: reserved before a call, settled after it, and never overshot together."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from taskforce.core.domain.errors import DomainError, Invalid
from taskforce.core.domain.metering.budget_ledgers import Draw
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetScope,
    BudgetUnit,
    LedgerKey,
    OnExceed,
    Owner,
    Unpriced,
)
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.interfaces.repositories.budgets import CallKey
from tests.taskforce.application.metering.budgeted import (
    CAPPED,
    USED,
    Stub,
    code_of,
    first,
    ledger,
    left_over,
    made,
    priced,
    sums,
)
from tests.taskforce.application.scenario import Stage


async def test_a_call_is_reserved_before_it_is_made_and_settled_by_what_it_used(stage: Stage) -> None:
    await priced(stage)
    budgets = [await made(stage), await made(stage, unit=BudgetUnit.MONEY, currency="USD")]
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    stub.go.clear()
    step = asyncio.create_task(stage.model_step(stub).run(first(stage, run_id)))
    await stub.called.wait()
    for budget in budgets:
        held = await ledger(stage, budget)
        # As much as the reply may have, and the prompt.
        assert held.spent == 0
        assert held.reserved >= 10
    stub.go.set()
    await step
    assert [await sums(stage, each) for each in budgets] == [(USED, 0)] * 2
    assert await left_over(stage) == []


async def test_what_fails_is_paid_and_what_died_is_released(stage: Stage) -> None:
    budget = await made(stage)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub(1)
    model_step = stage.model_step(stub)
    assert await code_of(model_step.run(first(stage, run_id))) == "model_unavailable"
    assert await sums(stage, budget) == (USED, 0)
    # An attempt whose worker has died: it reserved, and never settles.
    draws = [Draw(budget, (await ledger(stage, budget)).key, Decimal(500))]
    async with stage.database.tenant(stage.tenant_id) as records:
        assert (await records.budgets.reserve(CallKey(run_id, 1, 0, 2), draws, stage.now)).granted
    await model_step.run(first(stage, run_id, attempt=3))
    assert await sums(stage, budget) == (USED * 2, 0)
    assert await left_over(stage) == []


async def test_the_end_of_a_run_releases_what_is_left_and_nothing_is_reserved_after_it(stage: Stage) -> None:
    budget = await made(stage)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    draws = [Draw(budget, (await ledger(stage, budget)).key, Decimal(500))]
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.reserve(CallKey(run_id, 1, 0, 1), draws, stage.now)
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.CANCELLED))
    assert (await ledger(stage, budget)).reserved == 0
    async with stage.database.tenant(stage.tenant_id) as records:
        assert not (await records.budgets.reserve(CallKey(run_id, 1, 0, 2), draws, stage.now)).granted
    assert (await ledger(stage, budget)).reserved == 0


async def test_a_cancelled_call_is_settled_by_what_it_may_have_cost(stage: Stage) -> None:
    budget = await made(stage)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    stub.go.clear()
    step = asyncio.create_task(stage.model_step(stub).run(first(stage, run_id)))
    await stub.called.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    # The stub tells no usage of a call that was cut off, as a killed worker does not: the end of the run releases it.
    await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.CANCELLED))
    assert await sums(stage, budget) == (0, 0)


async def test_a_budget_that_is_used_up_refuses_and_says_what_is_missing(stage: Stage) -> None:
    budget = await made(stage, limit="1", on_exceed=OnExceed.STOP)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    with pytest.raises(DomainError) as refused:
        await stage.model_step(stub).run(first(stage, run_id))
    assert (refused.value.code, stub.calls) == ("budget_exceeded", 0)
    told = refused.value.details
    assert (told["budget"], told["left"], told["on_exceed"]) == ("Team", "1", "stop")
    assert Decimal(str(told["needed"])) > 10
    assert [event.type for event in await stage.events(run_id)][-1] == "budget.exceeded"
    assert await stage.audited("budget.exceed") == [("agent:assistant", "denied", "budget_exceeded")]
    assert await sums(stage, budget) == (0, 0)


async def test_either_every_ledger_is_reserved_or_none(stage: Stage) -> None:
    wide = await made(stage)
    await made(stage, scope=BudgetScope.USER, limit="1")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    assert await code_of(stage.model_step(Stub()).run(first(stage, run_id))) == "budget_exceeded"
    assert (await ledger(stage, wide)).reserved == 0
    assert await left_over(stage) == []


async def test_money_cannot_be_kept_with_a_model_without_a_price(stage: Stage) -> None:
    strict = await made(stage, unit=BudgetUnit.MONEY, currency="USD")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    stub = Stub()
    assert await code_of(stage.model_step(stub).run(first(stage, run_id))) == "model_unpriced"
    await priced(stage, currency="EUR")
    with pytest.raises(Invalid, match="is in EUR"):
        await stage.model_step(stub).run(first(stage, run_id))
    assert stub.calls == 0
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.save(replace(strict, unpriced=Unpriced.ALLOW))
    await stage.model_step(stub).run(first(stage, run_id))
    assert await sums(stage, strict) == (0, 0)


async def test_runs_are_counted_once_when_they_begin(stage: Stage) -> None:
    budget = await made(stage, unit=BudgetUnit.RUNS, limit="1", scope=BudgetScope.USER)
    stub = Stub(1)
    model_step = stage.model_step(stub)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    assert await code_of(model_step.run(first(stage, run_id))) == "model_unavailable"
    other = (await stage.accepted(agent=CAPPED)).run_id
    assert await code_of(model_step.run(first(stage, other))) == "budget_exceeded"
    await model_step.run(first(stage, run_id, attempt=2))
    assert await sums(stage, budget, "alice") == (1, 0)
    assert (await stage.run(run_id)).status is RunStatus.COMPLETED


async def test_people_are_told_once_that_the_soft_limit_is_passed_and_then_the_model_is(stage: Stage) -> None:
    await made(stage, limit="100", soft="0.2")
    stub = Stub()
    for _ in range(2):
        run_id = (await stage.accepted(agent=CAPPED)).run_id
        await stage.model_step(stub).run(first(stage, run_id))
    assert len(await stage.audited("budget.soft_limit")) == 1
    assert "nearly used up" not in stub.asked[0].messages[-1].content
    assert "of 100 tokens there are about 75 tokens left" in stub.asked[1].messages[-1].content


async def test_no_budget_costs_no_query(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.person("alice", "operator")
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    await stage.model_step(Stub()).run(first(stage, run_id))
    spec = (await stage.run(run_id)).spec
    async with stage.database.reading(stage.tenant_id) as records:
        tenant = await records.tenant.get()
        assert tenant is not None

        async def never(*_: object) -> None:
            raise AssertionError("It is cached.")

        monkeypatch.setattr(type(records.budgets), "all", never)
        assert await stage.budgets.draws(records, spec, tenant) == ()


async def test_a_budget_removed_meanwhile_binds_nobody(stage: Stage) -> None:
    kept, removed = await made(stage), await made(stage)
    run_id = (await stage.accepted(agent=CAPPED)).run_id
    draws = sorted(
        [Draw(one, (await ledger(stage, one)).key, Decimal(5)) for one in (kept, removed)], key=lambda one: one.key
    )
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.remove(removed.budget_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        reserved = await records.budgets.reserve(CallKey(run_id, 1, 0, 1), draws, stage.now)
        assert (reserved.granted, [one.budget for one in reserved.ledgers]) == (True, [kept])
        await records.budgets.settle(CallKey(run_id, 1, 0, 1), draws, stage.now)
    assert (await ledger(stage, kept)).spent == 5


async def test_eight_calls_at_once_cannot_share_what_is_enough_for_none(stage: Stage) -> None:
    await priced(stage, "0.000000001")
    budget = await made(stage, unit=BudgetUnit.MONEY, currency="USD", limit="0.000000001")
    run_ids = [(await stage.accepted(agent=CAPPED)).run_id for _ in range(8)]
    stub, barrier = Stub(), asyncio.Barrier(8)

    async def one(run_id: str) -> str | None:
        model_step = stage.model_step(stub)
        await barrier.wait()
        return await code_of(model_step.run(first(stage, run_id)))

    assert set(await asyncio.gather(*map(one, run_ids))) == {"budget_exceeded"}
    assert stub.calls == 0
    assert await sums(stage, budget) == (0, 0)


async def test_two_hundred_runs_with_kills_and_retries_never_overshoot(stage: Stage) -> None:
    """Ledgers of several budgets, locked in different orders of use; whatever dies, nothing is spent beyond them."""
    await priced(stage)
    shared = await made(stage, limit="3000")
    money = await made(stage, unit=BudgetUnit.MONEY, currency="USD", limit="2500")
    await made(stage, scope=BudgetScope.AGENT, limit="2800")
    seed = random.Random(14)
    run_ids = [(await stage.accepted(agent=CAPPED)).run_id for _ in range(200)]
    stub = Stub(*seed.sample(range(1, 100), 20))
    model_step, gate = stage.model_step(stub), asyncio.Semaphore(16)
    dead: list[str] = []

    async def one(run_id: str) -> str | None:
        async with gate:
            for attempt in range(1, 6):
                if seed.random() < 0.1:
                    # A worker that dies between the reservation and the call.
                    await _reserved(stage, [shared, money], CallKey(run_id, 1, 0, attempt))
                    dead.append(run_id)
                    continue
                code = await code_of(model_step.run(first(stage, run_id, attempt)))
                if code != "model_unavailable":
                    break
            else:
                code = "model_unavailable"
            if code is not None:
                await stage.lifecycle.end(stage.tenant_id, run_id, Ending(RunStatus.FAILED, error_code=code))
            return code

    async with asyncio.timeout(300):
        codes = await asyncio.gather(*map(one, run_ids))
    assert dead
    assert "budget_exceeded" in codes
    assert None in codes
    counted = "count(*), sum(input_tokens + output_tokens)"
    ((rows, tokens),) = await stage.rows("usage_records WHERE kind = 'model'", counted)
    assert rows == stub.calls
    for budget in (shared, money):
        held = await ledger(stage, budget)
        assert await sums(stage, budget) == (tokens, 0)
        # A call uses less than it reserves here, so that nothing is above the limit at all.
        assert held.spent <= budget.limit
    assert await left_over(stage) == []
    # What was refused did not fit: less is left than one call reserves.
    assert min([(await ledger(stage, one)).left for one in (shared, money)]) < 100


async def _reserved(stage: Stage, budgets: list[Budget], call: CallKey) -> None:
    owner, start = Owner.of_run((await stage.run(call.run_id)).spec), stage.now.replace(day=1, hour=0)
    assert owner.run_id == call.run_id
    draws = [Draw(one, LedgerKey(one.budget_id, "", start), Decimal(50)) for one in budgets]
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.budgets.reserve(call, sorted(draws, key=lambda one: one.key), stage.now + timedelta(seconds=1))
