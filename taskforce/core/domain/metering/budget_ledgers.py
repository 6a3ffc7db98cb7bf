"""Ledgers of budgets: who draws on them, what a model call reserves, and what it has used.

A model call is reserved before it is made, by an upper estimate, and settled by what it has used; so runs that go on at
the same time cannot overshoot together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Final

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.budgets import Budget, BudgetUnit, LedgerKey, Owner, Unpriced
from taskforce.core.domain.metering.money import product, total
from taskforce.core.domain.metering.prices import Charge, Price
from taskforce.core.domain.metering.tokens import TokenPart

BUDGET_EXCEEDED: Final = "budget_exceeded"
BUDGET_FULL: Final = "budget_full"
MODEL_UNPRICED: Final = "model_unpriced"
DEFAULT_MAX_REPLY: Final = 8_192
"""Tokens that a reply is taken to have at most where neither the agent nor the price map names a limit."""


@dataclass(frozen=True, slots=True)
class Draw:
    """An amount that is drawn on one ledger.

    Attributes:
        budget: The budget.
        key: The ledger.
        amount: The amount.
    """

    budget: Budget
    key: LedgerKey
    amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as stored.

    Attributes:
        budget: The budget.
        key: Its key.
        spent: What is used.
        reserved: What calls that are under way may use.
        raised_by: What approvals have added to the limit for its period.
        soft_told_at: When people were told that the soft limit is passed, UTC.
    """

    budget: Budget
    key: LedgerKey
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    raised_by: Decimal = Decimal(0)
    soft_told_at: datetime | None = None

    @property
    def limit(self) -> Decimal:
        """Returns the limit, as it is raised for its period."""
        return total([self.budget.limit, self.raised_by])

    @property
    def left(self) -> Decimal:
        """Returns what may still be reserved; not below 0."""
        return max(total([self.limit, -self.spent, -self.reserved]), Decimal(0))

    @property
    def used(self) -> Decimal:
        """Returns what is certain to be used: what is spent, and of a budget of runs also those that have begun."""
        return total([self.spent, self.reserved]) if self.budget.unit is BudgetUnit.RUNS else self.spent

    @property
    def soft_passed(self) -> bool:
        """Tells whether what is used has reached the soft limit."""
        return self.used >= product(self.limit, self.budget.soft)

    def has_room(self, amount: Decimal) -> bool:
        """Tells whether an amount may be reserved."""
        return total([self.spent, self.reserved, amount]) <= self.limit

    def may_have_room(self, amount: Decimal) -> bool:
        """Tells whether an amount may be reserved once the calls that are under way have given back what they can."""
        return total([self.used, amount]) <= self.limit


class BudgetBook:
    """The budgets of a tenant.

    Args:
        budgets: The budgets.
        zone: The tenant's time zone.
    """

    def __init__(self, budgets: Iterable[Budget], zone: tzinfo) -> None:
        self._budgets = sorted(budgets, key=lambda one: one.budget_id)
        self._zone = zone

    def __bool__(self) -> bool:
        return bool(self._budgets)

    def __len__(self) -> int:
        return len(self._budgets)

    def draws(self, owner: Owner, now: datetime) -> tuple[Draw, ...]:
        """Returns the ledgers that somebody draws on, in the order of their keys.

        Args:
            owner: Who draws.
            now: The time, UTC.
        """
        found = ((budget, budget.key(owner, now, self._zone)) for budget in self._budgets)
        return tuple(sorted((Draw(budget, key) for budget, key in found if key is not None), key=lambda one: one.key))


@dataclass(frozen=True, slots=True)
class CallBound:
    """The most that a model call may use.

    Attributes:
        model: The LiteLLM name.
        prompt: Tokens of the prompt.
        reply: Tokens of the reply.
        price: The model's price; None where it is not known.
    """

    model: str
    prompt: int
    reply: int
    price: Price | None = None

    @property
    def tokens(self) -> int:
        """Returns the tokens of prompt and reply."""
        return self.prompt + self.reply

    def cost(self) -> tuple[Decimal, str] | None:
        """Returns the cost and its currency; None without a price. Whatever the parts, none is dearer."""
        if self.price is None:
            return None
        each = self.price.tokens.of(self.prompt)
        prompt = max(each[TokenPart.INPUT], each[TokenPart.CACHED], each[TokenPart.CACHE_WRITE])
        reply = max(each[TokenPart.OUTPUT], each[TokenPart.REASONING])
        return total([product(prompt, self.prompt), product(reply, self.reply)]), self.price.currency


def reserved_for(draws: Iterable[Draw], bounds: Sequence[CallBound]) -> tuple[Draw, ...]:
    """Returns what a model call reserves: for each budget the dearest of the models that may be called.

    Args:
        draws: The ledgers; those that count runs are left out.
        bounds: What a call of each of the models may use.

    Raises:
        Invalid: `model_unpriced`: a budget of money cannot be kept, as a model's price in its currency is not known.
    """
    counted = (one for one in draws if one.budget.unit is not BudgetUnit.RUNS)
    return tuple(replace(one, amount=_bound(one.budget, bounds)) for one in counted)


def _bound(budget: Budget, bounds: Sequence[CallBound]) -> Decimal:
    if budget.unit is BudgetUnit.TOKENS:
        return Decimal(max(one.tokens for one in bounds))
    costs = [Decimal(0)]
    for one in bounds:
        cost = one.cost()
        if cost is not None and cost[1] == budget.currency:
            costs.append(cost[0])
        elif budget.unpriced is Unpriced.REFUSE:
            raise _unpriced(budget, one, None if cost is None else cost[1])
    return max(costs)


def _unpriced(budget: Budget, bound: CallBound, currency: str | None) -> Invalid:
    known = "is not known" if currency is None else f"is in {currency}"
    text = (
        f"The budget {budget.name!r} is in {budget.currency}, and the price of {bound.model} {known}, so that it could "
        "not be kept. Set a price (`taskforce prices set`), choose another model, or let the budget allow it "
        "(`unpriced: allow`)."
    )
    details = {"budget_id": budget.budget_id, "budget": budget.name, "model": bound.model}
    return Invalid(MODEL_UNPRICED, text, details=details)


def used_by(budget: Budget, tokens: int, charges: Iterable[Charge | None]) -> Decimal:
    """Returns what an effect has used of a budget.

    Args:
        budget: The budget.
        tokens: Tokens of model calls, of prompts and replies.
        charges: What the effect's records cost; None where a price is not known.
    """
    if budget.unit is BudgetUnit.TOKENS:
        return Decimal(tokens)
    if budget.unit is BudgetUnit.RUNS:
        return Decimal(0)
    return total(one.cost for one in charges if one is not None and one.currency == budget.currency)
