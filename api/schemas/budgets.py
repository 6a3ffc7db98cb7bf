"""Budgets in requests and responses. Amounts are decimals as texts, for JSON's numbers are not exact."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.request_body import RequestBody
from taskforce.application.metering.budgets import BudgetUse
from taskforce.core.domain.metering.budget_ledgers import Ledger
from taskforce.core.domain.metering.budgets import (
    MAX_NAME,
    MAX_SCOPE_ID,
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetTerms,
    BudgetUnit,
    OnExceed,
    Unpriced,
)
from taskforce.core.domain.metering.money import plain

Amount = Annotated[str, Field(min_length=1, max_length=40)]


class BudgetIn(RequestBody):
    """A budget to be made, or its new terms.

    Attributes:
        name: Its name, for people.
        scope: Whose use it counts.
        scope_id: The id within the scope; `*` gives each one a ledger of its own. Left out for the tenant.
        unit: What it counts: `money`, `tokens` or `runs`.
        currency: A code of ISO 4217, for money.
        period: How long a ledger counts; days and months are those of the tenant's time zone.
        limit: What may be used in a period: an amount, or a whole number.
        soft: The share of the limit at which people are told.
        on_exceed: `ask`: the run waits for an approved raise; `stop`: it ends with its best answer.
        unpriced: Of a budget of money: whether a model without a known price may be called, at no cost to it.
    """

    model_config = ConfigDict(strict=False)

    name: Annotated[str, Field(max_length=MAX_NAME)]
    scope: BudgetScope
    scope_id: Annotated[str, Field(max_length=MAX_SCOPE_ID)] = "*"
    unit: BudgetUnit
    currency: Annotated[str, Field(max_length=20)] | None = None
    period: BudgetPeriod
    limit: Amount
    soft: Amount = "0.8"
    on_exceed: OnExceed = OnExceed.ASK
    unpriced: Unpriced = Unpriced.REFUSE

    def terms(self) -> BudgetTerms:
        """Returns the budget as it is stated."""
        return BudgetTerms(
            name=self.name,
            scope=self.scope,
            scope_id=self.scope_id,
            unit=self.unit,
            currency=self.currency,
            period=self.period,
            limit=self.limit,
            soft=self.soft,
            on_exceed=self.on_exceed,
            unpriced=self.unpriced,
        )


class LedgerOut(BaseModel):
    """The use of a budget by one subject in one period.

    Attributes:
        budget_id: The budget.
        name: Its name.
        subject: Whose use it is: an id of the scope, or of a run; empty for the tenant.
        unit: What it counts.
        currency: The currency, of money.
        period_start: The beginning of the period.
        limit: The limit, with what approvals have added for this period.
        raised_by: What they have added.
        spent: What is used.
        reserved: What model calls that are under way may use.
        left: What may still be reserved.
        soft_passed: Whether the soft limit is passed.
    """

    budget_id: str
    name: str
    subject: str
    unit: BudgetUnit
    currency: str | None
    period_start: datetime
    limit: str
    raised_by: str
    spent: str
    reserved: str
    left: str
    soft_passed: bool


class LedgerListOut(BaseModel):
    """Ledgers of several budgets."""

    items: list[LedgerOut]


class BudgetOut(BaseModel):
    """A budget.

    Attributes:
        scope_id: The id within the scope; `*` for each one; empty for the tenant.
        ledgers: What is used in the current period, those with the most used first.
    """

    budget_id: str
    name: str
    scope: BudgetScope
    scope_id: str
    unit: BudgetUnit
    currency: str | None
    period: BudgetPeriod
    limit: str
    soft: str
    on_exceed: OnExceed
    unpriced: Unpriced
    created_by: str
    created_at: datetime
    updated_at: datetime
    ledgers: list[LedgerOut]


def ledger_out(ledger: Ledger) -> LedgerOut:
    """Renders a ledger."""
    budget = ledger.budget
    return LedgerOut(
        budget_id=budget.budget_id,
        name=budget.name,
        subject=ledger.key.subject,
        unit=budget.unit,
        currency=budget.currency,
        period_start=ledger.key.period_start,
        limit=plain(ledger.limit),
        raised_by=plain(ledger.raised_by),
        spent=plain(ledger.spent),
        reserved=plain(ledger.reserved),
        left=plain(ledger.left),
        soft_passed=ledger.soft_passed,
    )


def budget_out(use: BudgetUse) -> BudgetOut:
    """Renders a budget with its ledgers."""
    budget: Budget = use.budget
    return BudgetOut(
        budget_id=budget.budget_id,
        name=budget.name,
        scope=budget.scope,
        scope_id=budget.scope_id,
        unit=budget.unit,
        currency=budget.currency,
        period=budget.period,
        limit=plain(budget.limit),
        soft=plain(budget.soft),
        on_exceed=budget.on_exceed,
        unpriced=budget.unpriced,
        created_by=budget.created_by,
        created_at=budget.created_at,
        updated_at=budget.updated_at,
        ledgers=[ledger_out(one) for one in use.ledgers],
    )
