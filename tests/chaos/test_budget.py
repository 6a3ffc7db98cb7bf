"""Runs that share budgets, whose workers are killed in the middle of their calls: what is spent is what was called.

`TASKFORCE_CHAOS_BUDGET_RUNS=200` does it with two hundred runs.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import asyncpg

from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budgets import Budget, BudgetPeriod, BudgetScope, BudgetTerms, BudgetUnit, OnExceed
from taskforce.core.domain.runs.run import RunStatus, StopReason
from taskforce.infrastructure.config.settings import driver_arguments
from tests.chaos.invariants import ended, eventually
from tests.chaos.worker_process import Crew
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, held, status, text

RUNS = int(os.environ.get("TASKFORCE_CHAOS_BUDGET_RUNS", "60"))
KILLS, USED = 2, 25
LIMIT = RUNS * 20
"""Tokens, of which each call uses 25: not all runs get one."""
_CALLS = """
SELECT count(*) AS calls, coalesce(sum(input_tokens + output_tokens), 0) AS tokens
FROM usage_records WHERE tenant_id = $1 AND kind = 'model'
"""
_LEDGERS = "SELECT budget_id::text, spent, reserved FROM budget_ledgers WHERE tenant_id = $1"


@dataclass
class Stub:
    """The model: it counts its calls, fails every tenth, and from some call on answers nobody until it is let.

    Attributes:
        calls: The calls that it got.
        failed: Those that it failed, which cost nothing.
        hold_from: The number of answers after which it holds calls.
        waiting: Calls that it holds.
        let: What they wait for.
    """

    calls: int = 0
    failed: int = 0
    answered: int = 0
    hold_from: int = 0
    waiting: int = 0
    let: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, body: Body) -> Reply:
        del body
        self.calls += 1
        if self.answered >= self.hold_from:
            self.waiting += 1
            return held(text("Done."), self.let)
        self.answered += 1
        if self.calls % 10 == 0:
            self.failed += 1
            return status(503)
        return text("Done.")

    def release(self, further: int) -> int:
        """Answers the next calls at once; returns how many it held, whose workers are gone."""
        lost, self.waiting, self.hold_from = self.waiting, 0, self.answered + further
        self.let, before = asyncio.Event(), self.let
        before.set()
        return lost


async def budgets(missions: Missions) -> Sequence[Budget]:
    """A budget of tokens for all, and one for each agent that is as large, both of which end runs at their limit."""
    await missions.person("bob", "admin")
    made = [
        Budget.stated(
            BudgetTerms("All", scope, BudgetUnit.TOKENS, str(LIMIT), BudgetPeriod.MONTH, on_exceed=OnExceed.STOP),
            new_id(),
            "bob",
            now(),
        )
        for scope in (BudgetScope.TENANT, BudgetScope.AGENT)
    ]
    async with missions.database.tenant(missions.tenant_id) as records:
        await records.tenant.revise_metering()
        for one in made:
            await records.budgets.add(one)
    return made


class Books:
    """What the database says, asked by a connection of its own."""

    def __init__(self, admin_url: str, tenant_id: str) -> None:
        self._admin_url = admin_url
        self._tenant_id = tenant_id

    async def rows(self, query: str) -> Sequence[asyncpg.Record]:
        connection = await asyncpg.connect(**driver_arguments(self._admin_url))
        try:
            return list(await connection.fetch(query, self._tenant_id))
        finally:
            await connection.close()

    async def calls(self) -> int:
        (row,) = await self.rows(_CALLS)
        return int(row["calls"])


async def test_what_is_spent_is_what_was_called_and_never_above_the_budget(
    crew: Crew, endangered: Missions, llm: ScriptedLLM, admin_url: str
) -> None:
    endangered.agent = replace(endangered.agent, max_reply_tokens=10, tools=())
    stub, books = Stub(hold_from=RUNS // 6), Books(admin_url, endangered.tenant_id)
    llm.reply, llm.keep_requests = stub, False
    made = await budgets(endangered)
    await crew.hire()
    run_ids = [await endangered.start(f"mission {number}") for number in range(RUNS)]
    seen, lost = list[Decimal](), 0
    for killed in range(1, KILLS + 1):

        async def in_the_middle(before: int = lost) -> bool:
            seen.extend(row["spent"] for row in await books.rows(_LEDGERS))
            # Everything that was answered is stored, so that exactly what is held dies with the worker.
            return stub.waiting > 0 and await books.calls() == stub.calls - stub.waiting - before

        await eventually(in_the_middle)
        await crew.kill()
        lost += stub.release(RUNS // 6 if killed < KILLS else 100 * RUNS)
        await crew.hire()
    over = []
    for run_id in run_ids:
        over.append(await ended(endangered, run_id))
        seen.extend(row["spent"] for row in await books.rows(_LEDGERS))
    ends = {(run.status, run.stop_reason) for run in over}
    assert ends == {(RunStatus.COMPLETED, None), (RunStatus.INCOMPLETE, StopReason.BUDGET)}
    (sums,) = await books.rows(_CALLS)
    # Of calls that died with their worker nobody knows what they have cost; all others are recorded, to one.
    assert (sums["calls"], lost > 0) == (stub.calls - lost, True)
    ledgers = {row["budget_id"]: (row["spent"], row["reserved"]) for row in await books.rows(_LEDGERS)}
    assert ledgers == dict.fromkeys([one.budget_id for one in made], (sums["tokens"], 0))
    assert max(seen) <= LIMIT
    # It was used as far as it went: less is left than one call reserves.
    assert LIMIT - sums["tokens"] < 200
