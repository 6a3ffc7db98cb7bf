"""A tenant with budgets, and a model that counts its calls."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from taskforce.application.metering.prices import PriceOptions, set_price
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.budget_ledgers import Draw, Ledger
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetTerms,
    BudgetUnit,
    LedgerKey,
)
from taskforce.core.domain.metering.prices import Resource, Unit
from taskforce.core.domain.metering.tenant_prices import PriceTerms
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.interfaces.llm import ModelCall, ModelReply, ModelRequest, ModelUnavailable
from taskforce.infrastructure.llm.price_map import BundledPrices
from tests.taskforce.application.scenario import AGENT, Stage

MODEL = "openai/scripted"
CAPPED = replace(AGENT, max_reply_tokens=10, tools=())
TOKENS = TokenCounts(20, 5)
USED = Decimal(25)


class Stub:
    """A model that counts its calls, and answers when it is let."""

    def __init__(self, *failures: int) -> None:
        self.calls = 0
        self.failures = set(failures)
        self.go, self.called = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.asked: list[ModelRequest] = []

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        self.calls += 1
        self.called.set()
        self.asked.append(request)
        number = self.calls
        await self.go.wait()
        call = ModelCall(MODEL, TOKENS, 1)
        if number in self.failures:
            error = ModelUnavailable("model_unavailable", "It is away.")
            error.calls = (replace(call, failed="model_unavailable"),)
            raise error
        return ModelReply("Yes.", (), (call,))


async def made(stage: Stage, **changes: Any) -> Budget:
    """A budget of the tenant."""
    stated: dict[str, Any] = {
        "name": "Team",
        "scope": BudgetScope.TENANT,
        "unit": BudgetUnit.TOKENS,
        "limit": "1000000",
        "period": BudgetPeriod.MONTH,
    }
    budget = Budget.stated(BudgetTerms(**{**stated, **changes}), new_id(), "ada", stage.now)
    await stage.person("ada", "admin")
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.tenant.revise_metering()
        await records.budgets.add(budget)
    return budget


async def priced(stage: Stage, each: str = "1", currency: str = "USD") -> None:
    """Sets what a token of the model costs."""
    await stage.person("ada", "admin")
    terms = PriceTerms(Resource.MODEL, MODEL, currency, Unit.ONE, {"input": each, "output": each})
    await set_price(stage.database, BundledPrices(), stage.acting("ada"), terms, PriceOptions(custom=True))


async def ledger(stage: Stage, budget: Budget, subject: str = "") -> Ledger:
    """The ledger of this month."""
    start = stage.now.replace(day=1, hour=0, minute=0)
    async with stage.database.reading(stage.tenant_id) as records:
        (found,) = await records.budgets.ledgers([Draw(budget, LedgerKey(budget.budget_id, subject, start))])
    return found


async def sums(stage: Stage, budget: Budget, subject: str = "") -> tuple[object, object]:
    """What is spent and reserved of it."""
    found = await ledger(stage, budget, subject)
    return found.spent, found.reserved


async def left_over(stage: Stage) -> list[tuple[object, ...]]:
    return await stage.rows("budget_reservations", "run_id, step, attempt")


def first(stage: Stage, run_id: str, attempt: int = 1, step: int = 1) -> ModelStepInput:
    return ModelStepInput(stage.tenant_id, run_id, step=step, attempt=attempt, told=0)


async def code_of(step: Any) -> str | None:
    try:
        await step
    except DomainError as error:
        return error.code
    return None
