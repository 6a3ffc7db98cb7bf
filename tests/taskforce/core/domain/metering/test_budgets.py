"""The rules of budgets: what may be stated, whose ledger counts, what a call reserves and what it has used."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from taskforce.core.domain.errors import DomainError, Invalid
from taskforce.core.domain.metering.budget_ledgers import BudgetBook, CallBound, Draw, Ledger, reserved_for, used_by
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetTerms,
    BudgetUnit,
    LedgerKey,
    Owner,
    Unpriced,
)
from taskforce.core.domain.metering.prices import Charge, Price, TokenPrices
from taskforce.core.domain.metering.tokens import TokenPart

NOW = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)
OWNER = Owner("alice", "sales", ("agent-1", "writer"), "acme:session-1", "run-1", NOW)
TERMS = BudgetTerms("Team", BudgetScope.TENANT, BudgetUnit.MONEY, "100", BudgetPeriod.MONTH, currency="USD")
KEY = LedgerKey("b", "", NOW)


def budget(budget_id: str = "b", **changes: Any) -> Budget:
    return Budget.stated(replace(TERMS, **changes), budget_id, "ada", NOW)


def tokens(**changes: Any) -> Budget:
    return budget(unit=BudgetUnit.TOKENS, currency=None, **changes)


def price(each: str, currency: str = "USD", **parts: str) -> Price:
    found = {TokenPart.INPUT: Decimal(each), TokenPart.OUTPUT: Decimal(each)}
    found.update({TokenPart(name): Decimal(amount) for name, amount in parts.items()})
    return Price("m", currency, TokenPrices(found), "tenant:1")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"limit": "-1"}, "amount_invalid"),
        ({"limit": "1000000000000"}, "amount_invalid"),
        ({"limit": "1e3"}, "amount_invalid"),
        ({"limit": "NaN"}, "amount_invalid"),
        ({"currency": "USX"}, "currency_unknown"),
        ({"currency": None}, "budget_invalid"),
        ({"unit": BudgetUnit.TOKENS}, "budget_invalid"),
        ({"unit": BudgetUnit.TOKENS, "currency": None, "limit": "1.5"}, "budget_invalid"),
        ({"unit": BudgetUnit.RUNS, "currency": None, "period": BudgetPeriod.RUN}, "budget_invalid"),
        ({"soft": "0"}, "budget_invalid"),
        ({"soft": "1.1"}, "budget_invalid"),
        ({"scope_id": "x"}, "budget_invalid"),
        ({"scope": BudgetScope.USER, "scope_id": ""}, "budget_invalid"),
        ({"scope": BudgetScope.USER, "scope_id": "a\u202eb"}, "budget_invalid"),
        ({"name": ""}, "budget_invalid"),
        ({"name": " x"}, "budget_invalid"),
        ({"name": "x" * 101}, "budget_invalid"),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(DomainError) as refused:
        budget(**changes)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("scope", "scope_id", "subject"),
    [
        (BudgetScope.TENANT, "", ""),
        (BudgetScope.DEPARTMENT, "*", "sales"),
        (BudgetScope.DEPARTMENT, "sales", "sales"),
        (BudgetScope.DEPARTMENT, "support", None),
        (BudgetScope.USER, "*", "alice"),
        (BudgetScope.USER, "bob", None),
        (BudgetScope.AGENT, "*", "agent-1"),
        (BudgetScope.AGENT, "writer", "writer"),
        (BudgetScope.SESSION, "*", "acme:session-1"),
        (BudgetScope.RUN, "*", "run-1"),
    ],
)
def test_a_budget_counts_whom_it_names(scope: BudgetScope, scope_id: str, subject: str | None) -> None:
    key = budget(scope=scope, scope_id=scope_id).key(OWNER, NOW, UTC)
    assert (None if key is None else key.subject) == subject


def test_who_has_no_department_is_in_none() -> None:
    assert budget(scope=BudgetScope.DEPARTMENT, scope_id="*").key(replace(OWNER, department=None), NOW, UTC) is None


def test_periods_are_those_of_the_tenants_calendar() -> None:
    """It is the first of March in London, and still February in New York."""
    york = ZoneInfo("America/New_York")
    month, day, run = (budget(period=one) for one in (BudgetPeriod.MONTH, BudgetPeriod.DAY, BudgetPeriod.RUN))
    assert month.key(OWNER, NOW, UTC) == LedgerKey("b", "", datetime(2026, 3, 1, tzinfo=UTC))
    assert month.key(OWNER, NOW, york) == LedgerKey("b", "", datetime(2026, 2, 1, 5, tzinfo=UTC))
    assert day.key(OWNER, NOW, york) == LedgerKey("b", "", datetime(2026, 2, 28, 5, tzinfo=UTC))
    assert run.key(OWNER, NOW, york) == LedgerKey("b", "run-1", NOW)
    assert run.key(Owner("alice", None), NOW, york) is None


def test_ledgers_are_drawn_on_in_one_order() -> None:
    book = BudgetBook([budget("c"), budget("a"), budget("b", scope=BudgetScope.USER, scope_id="bob")], UTC)
    assert [draw.key.budget_id for draw in book.draws(OWNER, NOW)] == ["a", "c"]
    assert not BudgetBook([], UTC)


def test_a_call_reserves_what_the_dearest_model_may_cost() -> None:
    bounds = [CallBound("small", 100, 10, price("0.1")), CallBound("large", 100, 20, price("0.2", cache_write="0.25"))]
    money, many = reserved_for([Draw(budget(), KEY), Draw(tokens(), KEY)], bounds)
    assert (money.amount, many.amount) == (Decimal(29), Decimal(120))
    runs = budget(unit=BudgetUnit.RUNS, currency=None)
    assert reserved_for([Draw(runs, KEY)], bounds) == ()


@pytest.mark.parametrize("known", [None, price("1", "EUR")])
def test_a_price_that_is_not_known_in_its_currency_refuses_unless_the_budget_allows_it(known: Price | None) -> None:
    bounds = [CallBound("small", 100, 10, price("0.1")), CallBound("large", 100, 10, known)]
    with pytest.raises(Invalid) as refused:
        reserved_for([Draw(budget(), KEY)], bounds)
    assert (refused.value.code, refused.value.details["model"]) == ("model_unpriced", "large")
    (allowed,) = reserved_for([Draw(budget(unpriced=Unpriced.ALLOW), KEY)], bounds)
    assert allowed.amount == 11


def test_what_was_used_counts_in_the_budgets_own_unit() -> None:
    charges = (Charge(Decimal("0.1"), "USD", "x"), Charge(Decimal(5), "EUR", "x"), None)
    assert used_by(budget(), 30, charges) == Decimal("0.1")
    assert used_by(tokens(), 30, charges) == 30
    assert used_by(budget(unit=BudgetUnit.RUNS, currency=None), 30, charges) == 0


def test_a_ledger_has_room_up_to_its_raised_limit() -> None:
    ledger = Ledger(budget(), KEY, spent=Decimal(70), reserved=Decimal(20))
    assert ledger.left == Decimal(10)
    assert (ledger.has_room(Decimal(10)), ledger.has_room(Decimal("10.01"))) == (True, False)
    assert (ledger.soft_passed, replace(ledger, spent=Decimal(80)).soft_passed) == (False, True)
    raised = replace(ledger, raised_by=Decimal(50), spent=Decimal(160))
    assert (raised.limit, raised.left, raised.soft_passed) == (Decimal(150), Decimal(0), True)


def test_what_calls_under_way_hold_may_be_given_back_but_runs_that_have_begun_are_not() -> None:
    ledger = Ledger(budget(), KEY, spent=Decimal(70), reserved=Decimal(30))
    assert [ledger.may_have_room(Decimal(amount)) for amount in (30, 31)] == [True, False]
    runs = Ledger(budget(unit=BudgetUnit.RUNS, currency=None), KEY, spent=Decimal(70), reserved=Decimal(30))
    assert (runs.may_have_room(Decimal(1)), runs.soft_passed) == (False, True)


def test_terms_change_but_not_what_is_counted() -> None:
    assert budget().changed(replace(TERMS, limit="5", name="Us"), NOW).limit == 5
    with pytest.raises(Invalid, match="do not change"):
        budget().changed(replace(TERMS, currency="EUR"), NOW)


def test_amounts_are_written_for_people() -> None:
    assert (budget().shown(Decimal("12.3456")), budget().shown(Decimal("0.0004"))) == ("12.35 USD", "0.0004 USD")
    assert tokens().shown(Decimal(3)) == "3 tokens"
