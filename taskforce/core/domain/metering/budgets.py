"""Budgets: how much money, tokens or runs may be used in a period, by whom, and what happens at the limit.

What is used stands in ledgers, see `budget_ledgers.py`: one for each subject and period.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, Self

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.currencies import parse_currency
from taskforce.core.domain.metering.money import parse_amount, plain, rounded
from taskforce.core.domain.metering.periods import midnight
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.visible_text import is_visible

MAX_BUDGETS: Final = 200
"""Budgets that a tenant may have."""
MAX_NAME: Final = 100
MAX_SCOPE_ID: Final = 256
EACH: Final = "*"
"""The scope id of a budget of which each one of its scope has a ledger of its own."""
DEFAULT_SOFT: Final = Decimal("0.8")


class BudgetScope(StrEnum):
    """Whose use a budget counts."""

    TENANT = "tenant"
    DEPARTMENT = "department"
    USER = "user"
    AGENT = "agent"
    SESSION = "session"
    RUN = "run"


class BudgetUnit(StrEnum):
    """The unit that a budget counts."""

    MONEY = "money"
    TOKENS = "tokens"
    RUNS = "runs"


class BudgetPeriod(StrEnum):
    """The time that a ledger counts: one run, or a day or a month of the tenant's calendar."""

    RUN = "run"
    DAY = "day"
    MONTH = "month"

    def beginning(self, now: datetime, zone: tzinfo) -> datetime:
        """Returns the beginning of the day or month that a time is in, UTC; a ledger of a run begins with the run.

        Args:
            now: The time, UTC.
            zone: The tenant's time zone.
        """
        day = now.astimezone(zone).date()
        return midnight(day.replace(day=1) if self is BudgetPeriod.MONTH else day, zone)


class OnExceed(StrEnum):
    """The reaction to a call that would exceed the limit: the run waits for an approved raise, or ends."""

    ASK = "ask"
    STOP = "stop"


class Unpriced(StrEnum):
    """The treatment of models without a known price under a budget of money."""

    REFUSE = "refuse"
    ALLOW = "allow"


class LedgerKey(NamedTuple):
    """The key of a ledger; ledgers are locked in the order of their keys.

    Attributes:
        budget_id: The budget.
        subject: Whose use it counts: an id of the scope, or of a run where the period is one; empty for the tenant.
        period_start: The beginning of the period, UTC.
    """

    budget_id: str
    subject: str
    period_start: datetime


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """A budget as a caller states it.

    Attributes:
        name: Its name, for people.
        scope: Whose use it counts.
        scope_id: The id within the scope, or `*` for a ledger of its own for each; left empty for the tenant.
        unit: What it counts.
        limit: The limit as text: an amount of money, or a whole number.
        period: How long a ledger counts.
        currency: A code of ISO 4217, of a budget of money.
        soft: The share of the limit at which people are told, as text above 0 and up to 1.
        on_exceed: What happens at the limit.
        unpriced: Whether a model without a known price may be called.
    """

    name: str
    scope: BudgetScope
    unit: BudgetUnit
    limit: str
    period: BudgetPeriod
    scope_id: str = EACH
    currency: str | None = None
    soft: str = "0.8"
    on_exceed: OnExceed = OnExceed.ASK
    unpriced: Unpriced = Unpriced.REFUSE


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget.

    Attributes:
        budget_id: Its id.
        name: Its name, for people.
        scope: Whose use it counts.
        scope_id: The id within the scope; `*` for a ledger of its own for each; empty for the tenant.
        unit: What it counts.
        currency: A code of ISO 4217; None where it counts no money.
        period: How long a ledger counts.
        limit: What may be used.
        soft: The share of the limit at which people are told.
        on_exceed: What happens at the limit.
        unpriced: Whether a model without a known price may be called.
        created_by: The user who made it.
        created_at: When it was made, UTC.
        updated_at: When it was last changed, UTC.
    """

    budget_id: str
    name: str
    scope: BudgetScope
    scope_id: str
    unit: BudgetUnit
    currency: str | None
    period: BudgetPeriod
    limit: Decimal
    soft: Decimal
    on_exceed: OnExceed
    unpriced: Unpriced
    created_by: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def stated(cls, terms: BudgetTerms, budget_id: str, by: str, now: datetime) -> Self:
        """Makes a budget of what a caller states.

        Args:
            terms: The budget as it was stated.
            budget_id: Its new id.
            by: The user who makes it.
            now: The time, UTC.

        Raises:
            Invalid: `budget_invalid`, `currency_unknown` or `amount_invalid`.
        """
        return cls(
            budget_id=budget_id,
            name=_name(terms.name),
            scope=terms.scope,
            scope_id=_scope_id(terms),
            unit=terms.unit,
            currency=_currency(terms),
            period=terms.period,
            limit=_limit(terms),
            soft=_soft(terms.soft),
            on_exceed=terms.on_exceed,
            unpriced=terms.unpriced,
            created_by=by,
            created_at=now,
            updated_at=now,
        )

    def changed(self, terms: BudgetTerms, now: datetime) -> Self:
        """Returns it with other terms; what is spent stays in its ledgers.

        Args:
            terms: The new terms.
            now: The time, UTC.

        Raises:
            Invalid: As `stated`; `budget_invalid` also where it would count something else than its ledgers do.
        """
        made = type(self).stated(terms, self.budget_id, self.created_by, now)
        if made.counts != self.counts:
            text = "Scope, scope id, unit, currency and period of a budget do not change: make another one."
            raise Invalid("budget_invalid", text)
        return replace(made, created_at=self.created_at)

    @property
    def counts(self) -> tuple[object, ...]:
        """Returns what its ledgers count, and for whom."""
        return self.scope, self.scope_id, self.unit, self.currency, self.period

    def key(self, owner: "Owner", now: datetime, zone: tzinfo) -> LedgerKey | None:
        """Returns the key of the ledger that somebody draws on; None where the budget does not concern them.

        Args:
            owner: Who draws.
            now: The time, UTC.
            zone: The tenant's time zone.
        """
        subject = self._subject(owner)
        if subject is None:
            return None
        if self.period is BudgetPeriod.RUN:
            return None if owner.run_id is None else LedgerKey(self.budget_id, owner.run_id, owner.since)
        return LedgerKey(self.budget_id, subject, self.period.beginning(now, zone))

    def shown(self, amount: Decimal) -> str:
        """Writes an amount of it for people, for example `12.50 USD` or `3 runs`."""
        if self.currency is None:
            return f"{plain(amount)} {self.unit.value}"
        # A sum below the smallest coin would read as nothing.
        whole = rounded(amount, self.currency)
        return f"{plain(amount) if not whole else format(whole, 'f')} {self.currency}"

    def _subject(self, owner: "Owner") -> str | None:
        if self.scope is BudgetScope.TENANT:
            return ""
        names = owner.names(self.scope)
        if self.scope_id == EACH:
            return names[0] if names else None
        return self.scope_id if self.scope_id in names else None


@dataclass(frozen=True, slots=True)
class Owner:
    """The one who draws on budgets: a run, or a user where no run is meant.

    Attributes:
        user_id: The user.
        department: The department, if any.
        agents: The agent's names, its id first; none where no run is meant.
        session_id: The session, if a run is meant.
        run_id: The run, if one is meant.
        since: When the run was created, UTC.
    """

    user_id: str
    department: str | None
    agents: tuple[str, ...] = ()
    session_id: str | None = None
    run_id: str | None = None
    since: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    @classmethod
    def of_run(cls, spec: RunSpec) -> Self:
        """Returns the owner of what a run uses."""
        agent = spec.agent
        return cls(
            user_id=spec.user_id,
            department=spec.attribution.department,
            agents=(agent.agent_id, *sorted(agent.names - {agent.agent_id})),
            session_id=spec.session_id,
            run_id=spec.run_id,
            since=spec.created_at,
        )

    @classmethod
    def named(cls, subject: str) -> Self:
        """Returns the owner of whatever scope that a subject names, of no run."""
        return cls(subject, subject, (subject,), subject)

    def names(self, scope: BudgetScope) -> tuple[str, ...]:
        """Returns the ids under which it is known within a scope, the first one for a ledger of its own."""
        one = {
            BudgetScope.DEPARTMENT: self.department,
            BudgetScope.USER: self.user_id,
            BudgetScope.SESSION: self.session_id,
            BudgetScope.RUN: self.run_id,
        }
        if scope is BudgetScope.AGENT:
            return self.agents
        name = one.get(scope)
        return () if name is None else (name,)


def snapshot(budget: Budget) -> Mapping[str, object]:
    """Renders a budget for the audit log."""
    return {
        "name": budget.name,
        "scope": budget.scope.value,
        "scope_id": budget.scope_id,
        "unit": budget.unit.value,
        "currency": budget.currency,
        "period": budget.period.value,
        "limit": plain(budget.limit),
        "soft": plain(budget.soft),
        "on_exceed": budget.on_exceed.value,
        "unpriced": budget.unpriced.value,
    }


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME or not is_visible(name) or name != name.strip():
        raise _invalid(f"A name has 1 to {MAX_NAME} visible characters, and no blanks around them.")
    return name


def _scope_id(terms: BudgetTerms) -> str:
    if terms.scope is BudgetScope.TENANT:
        if terms.scope_id not in {"", EACH}:
            raise _invalid("A budget of the tenant has no scope id: leave it out.")
        return ""
    if not 0 < len(terms.scope_id) <= MAX_SCOPE_ID or not is_visible(terms.scope_id):
        raise _invalid(f"A scope id has 1 to {MAX_SCOPE_ID} visible characters; `{EACH}` stands for each one.")
    return terms.scope_id


def _currency(terms: BudgetTerms) -> str | None:
    if terms.unit is BudgetUnit.MONEY:
        if terms.currency is None:
            raise _invalid("A budget of money has a currency, for example USD.")
        return parse_currency(terms.currency)
    if terms.currency is not None:
        raise _invalid(f"A budget of {terms.unit.value} has no currency: leave it out.")
    return None


def _limit(terms: BudgetTerms) -> Decimal:
    limit = parse_amount(terms.limit, "limit")
    if terms.unit is not BudgetUnit.MONEY and limit != limit.to_integral_value():
        raise _invalid(f"A limit of {terms.unit.value} is a whole number.")
    if terms.unit is BudgetUnit.RUNS and terms.period is BudgetPeriod.RUN:
        raise _invalid("A budget of runs is for a day or a month.")
    return limit


def _soft(text: str) -> Decimal:
    soft = parse_amount(text, "soft")
    if not 0 < soft <= 1:
        raise _invalid("The soft limit is a share of the limit, above 0 and up to 1.")
    return soft


def _invalid(text: str) -> Invalid:
    return Invalid("budget_invalid", text)
