"""What budgets cost a model step: round trips to PostgreSQL, however many budgets there are, and none without one."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from taskforce.core.domain.metering.budgets import BudgetScope, BudgetUnit
from tests.taskforce.application.metering.budgeted import CAPPED, Stub, first, made, priced
from tests.taskforce.application.scenario import Stage


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to PostgreSQL by whichever connection; each is one round trip."""
    texts: list[str] = []
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, _noted(texts, getattr(asyncpg.Connection, name)))
    return texts


def _noted(texts: list[str], send: Any) -> Any:
    async def noting(self: asyncpg.Connection, text: str, *arguments: Any, **named: Any) -> Any:
        texts.append(text)
        return await send(self, text, *arguments, **named)

    return noting


async def step(stage: Stage, sent: list[str]) -> Sequence[str]:
    """The statements of a model step of a run, the second one in this process."""
    for _ in range(2):
        run_id = (await stage.accepted(agent=CAPPED)).run_id
        model_step = stage.model_step(Stub())
        sent.clear()
        await model_step.run(first(stage, run_id))
    return tuple(sent)


async def test_without_a_budget_a_step_sends_nothing_for_budgets(stage: Stage, sent: list[str]) -> None:
    without = await step(stage, sent)
    # What the end of a run gives back is looked for in a statement that is sent anyway.
    assert [text for text in without if "budget" in text and "UPDATE runs" not in text] == []


async def test_a_budget_costs_a_step_four_round_trips_and_five_cost_no_more(stage: Stage, sent: list[str]) -> None:
    await priced(stage)
    without = await step(stage, sent)
    await made(stage)
    one = await step(stage, sent)
    for scope in (BudgetScope.USER, BudgetScope.AGENT, BudgetScope.SESSION):
        await made(stage, scope=scope)
    await made(stage, unit=BudgetUnit.MONEY, currency="USD")
    five = await step(stage, sent)
    added = [text for text in one if "budget_" in text and "UPDATE runs" not in text]
    # The reservation with its beginning and its commit, and the settlement in the transaction that stores the reply.
    assert ("kept AS" in added[0], "due AS" in added[1], len(added)) == (True, True, 2)
    # A session's ledger is opened by its first call, and what is reserved on it is tried again.
    assert (len(one) - len(without), len(five) - len(without)) == (4, 6)
