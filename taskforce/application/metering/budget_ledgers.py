"""Reservation of model calls on budgets, and what they have used of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from taskforce.application.audit.events import agent_event
from taskforce.application.events import announce
from taskforce.application.metering.budget_books import BudgetBooks
from taskforce.application.metering.price_books import PriceBooks
from taskforce.core.domain.errors import Conflict, Unavailable
from taskforce.core.domain.ids import missing
from taskforce.core.domain.metering.budget_ledgers import (
    BUDGET_EXCEEDED,
    BUDGET_FULL,
    DEFAULT_MAX_REPLY,
    CallBound,
    Draw,
    Ledger,
    reserved_for,
    used_by,
)
from taskforce.core.domain.metering.budgets import BudgetUnit, OnExceed, Owner
from taskforce.core.domain.metering.money import plain
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.llm import ModelRequest, PromptBound
from taskforce.core.interfaces.repositories.budgets import CallKey, Reserved
from taskforce.core.interfaces.store import Records, Store

_ONE_RUN = Decimal(1)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of an attempt of a model call.

    Attributes:
        call: The attempt.
        draws: The ledgers and amounts; none where no budget bears on the call.
        ledgers: The ledgers before it.
    """

    call: CallKey
    draws: tuple[Draw, ...] = ()
    ledgers: Sequence[Ledger] = ()

    @property
    def nearly_used_up(self) -> Ledger | None:
        """Returns the ledger with the smallest share left among those past their soft limit; None without one."""
        passed = [one for one in self.ledgers if one.soft_passed]
        return min(passed, key=lambda one: one.left / max(one.limit, Decimal(1)), default=None)


class BudgetLedgers:
    """Reserves model calls and settles what they have used.

    Args:
        store: The tenants' data.
        clock: The time, UTC.
        books: The budgets of the tenants.
        prices: The prices of the tenants.
        prompt_bound: Estimates the tokens of a prompt.
    """

    def __init__(
        self, store: Store, clock: Clock, books: BudgetBooks, *, prices: PriceBooks, prompt_bound: PromptBound
    ) -> None:
        self._store = store
        self._clock = clock
        self._books = books
        self._prices = prices
        self._prompt_bound = prompt_bound

    async def draws(self, records: Records, spec: RunSpec, tenant: Tenant) -> tuple[Draw, ...]:
        """Returns the ledgers that a run draws on; no query where its tenant's budgets are cached.

        Args:
            records: The tenant's records.
            spec: The run.
            tenant: The tenant, as it was just read.
        """
        book = await self._books.of(records, tenant)
        return book.draws(Owner.of_run(spec), self._clock()) if book else ()

    async def reserve(
        self, spec: RunSpec, draws: Sequence[Draw], request: ModelRequest, call: CallKey, *, begins: bool
    ) -> Reservation:
        """Reserves what a model call may use on every ledger, or on none.

        Args:
            spec: The run.
            draws: The ledgers that it draws on.
            request: The request.
            call: The attempt.
            begins: Whether the run begins with it, and counts as a run.

        Raises:
            Conflict: `budget_exceeded`: it would exceed a budget; what is left and what is needed are in the details.
                `run_finished`: the run has ended meanwhile.
            Invalid: `model_unpriced`: a budget of money cannot be kept with a model without a price in its currency.
        """
        runs = tuple(replace(one, amount=_ONE_RUN) for one in draws if one.budget.unit is BudgetUnit.RUNS)
        if begins and runs:
            # By itself: ledgers that are locked by two statements would be locked out of order.
            await self._reserve(spec, runs, CallKey(call.run_id, 0, 0, 1))
        counted = [one for one in draws if one.budget.unit is not BudgetUnit.RUNS]
        if not counted:
            return Reservation(call)
        wanted = reserved_for(counted, await self._bounds(spec, request))
        reserved = await self._reserve(spec, wanted, call)
        return Reservation(call, wanted, reserved.ledgers)

    async def _bounds(self, spec: RunSpec, request: ModelRequest) -> Sequence[CallBound]:
        prompt, now = self._prompt_bound(request), self._clock()
        async with self._store.reading(spec.tenant_id) as records:
            book = await self._prices.latest(records)
        replies = [
            request.max_tokens or await self._prices.max_reply(model) or DEFAULT_MAX_REPLY for model in request.models
        ]
        return [
            CallBound(model, prompt, reply, book.price(model, now))
            for model, reply in zip(request.models, replies, strict=True)
        ]

    async def _reserve(self, spec: RunSpec, draws: tuple[Draw, ...], call: CallKey) -> Reserved:
        now = self._clock()
        async with self._store.tenant(spec.tenant_id) as records:
            reserved = await records.budgets.reserve(call, draws, now)
            for ledger in _begun_past_soft(reserved, draws):
                await records.budgets.tell_soft(ledger.key, now)
                await _tell_soft(records, spec, ledger, now)
            refused = None if reserved.granted or reserved.ended else _exceeded(reserved.ledgers, draws)
            if refused is not None and not refused[0].may_have_room(refused[1]):
                await _tell_exceeded(records, spec, *refused, now)
        if reserved.granted:
            return reserved
        if refused is None:
            raise Conflict("run_finished", "The run has ended.")
        raise _refusal(*refused)

    async def look(self, tenant_id: str, run_id: str, budget_id: str, needed: Decimal, *, held: bool) -> None:
        """Requires that a budget has room for an amount now: raised, given back by others, or in a new period.

        Args:
            tenant_id: The tenant.
            run_id: The run that waits.
            budget_id: The budget; one that is removed binds nobody.
            needed: The amount.
            held: Whether other calls hold it, and may give it back: then it is enough that they have used it up.

        Raises:
            Unavailable: `budget_full`.
            Missing: `run_not_found` or `tenant_not_found`.
        """
        async with self._store.reading(tenant_id) as records:
            book, spec = await self._books.current(records), await records.runs.spec(run_id)
            if spec is None:
                raise missing("run")
            drawn = book.draws(Owner.of_run(spec), self._clock())
            ledgers = await records.budgets.ledgers([one for one in drawn if one.budget.budget_id == budget_id])
        if not all(one.has_room(needed) or (held and not one.may_have_room(needed)) for one in ledgers):
            raise Unavailable(BUDGET_FULL, "The budget has no room for the call yet.")

    async def settle(self, records: Records, spec: RunSpec, reservation: Reservation, used: UsageEntry) -> None:
        """Adds what a model call has used to its ledgers, in the transaction that stores its usage.

        Args:
            records: The tenant's records.
            spec: The run.
            reservation: What it had reserved.
            used: Its usage, priced.
        """
        if reservation.draws:
            await _settle(records, spec, reservation.call, reservation.draws, used)

    async def charge(self, records: Records, spec: RunSpec, used: UsageEntry) -> None:
        """Adds what a tool call has used, of which nothing was reserved, in the transaction that stores its usage.

        Args:
            records: The tenant's records.
            spec: The run.
            used: Its usage, priced.
        """
        if not any(used.charges) and not used.tokens:
            return
        book = await self._books.latest(records)
        draws = book.draws(Owner.of_run(spec), self._clock()) if book else ()
        counted = tuple(one for one in draws if one.budget.unit is not BudgetUnit.RUNS)
        if counted:
            await _settle(records, spec, CallKey(used.run_id, used.step, used.call, used.attempt), counted, used)


async def _settle(records: Records, spec: RunSpec, call: CallKey, draws: Sequence[Draw], used: UsageEntry) -> None:
    amounts = [replace(one, amount=used_by(one.budget, used.tokens, used.charges)) for one in draws]
    for ledger in await records.budgets.settle(call, amounts, used.at):
        await _tell_soft(records, spec, ledger, used.at)


def _begun_past_soft(reserved: Reserved, draws: Sequence[Draw]) -> Sequence[Ledger]:
    """Returns the ledgers that pass their soft limit with the run that begins; others pass it when they are settled."""
    amounts = {draw.key: draw.amount for draw in draws if reserved.granted and draw.budget.unit is BudgetUnit.RUNS}
    begun = [replace(one, reserved=one.reserved + amounts[one.key]) for one in reserved.ledgers if one.key in amounts]
    return [one for one in begun if one.soft_told_at is None and one.soft_passed]


async def _tell_soft(records: Records, spec: RunSpec, ledger: Ledger, now: datetime) -> None:
    facts = _facts(ledger)
    event = agent_event(spec, "budget.soft_limit", "budget", ledger.budget.budget_id, now, ledger=facts)
    await records.audit.append(event)
    await announce(records, "budget.soft_limit", {**facts, "run_id": spec.run_id}, now)


def _exceeded(ledgers: Sequence[Ledger], draws: Sequence[Draw]) -> tuple[Ledger, Decimal] | None:
    needed = {draw.key: draw.amount for draw in draws}
    full = [(ledger, needed[ledger.key]) for ledger in ledgers if not ledger.has_room(needed[ledger.key])]
    # One that is used up counts before one that others only hold, and one that ends the run before one that asks.
    return min(full, key=lambda one: _severity(*one), default=None)


def _severity(ledger: Ledger, needed: Decimal) -> tuple[bool, bool]:
    return ledger.may_have_room(needed), ledger.budget.on_exceed is not OnExceed.STOP


async def _tell_exceeded(records: Records, spec: RunSpec, ledger: Ledger, needed: Decimal, now: datetime) -> None:
    facts = {**_facts(ledger), "needed": plain(needed)}
    event = agent_event(
        spec,
        "budget.exceed",
        "budget",
        ledger.budget.budget_id,
        now,
        outcome="denied",
        reason=BUDGET_EXCEEDED,
        run_id=spec.run_id,
        ledger=facts,
    )
    await records.audit.append(event)
    await records.events.append(spec.run_id, "budget.exceeded", facts, now)
    await announce(records, "budget.exceeded", {**facts, "run_id": spec.run_id}, now)


def _facts(ledger: Ledger) -> dict[str, object]:
    return {
        "budget_id": ledger.budget.budget_id,
        "budget": ledger.budget.name,
        "subject": ledger.key.subject,
        "period_start": ledger.key.period_start.isoformat(),
        "unit": ledger.budget.unit.value,
        "currency": ledger.budget.currency,
        "limit": plain(ledger.limit),
        "spent": plain(ledger.spent),
        "reserved": plain(ledger.reserved),
    }


def _refusal(ledger: Ledger, needed: Decimal) -> Conflict:
    budget, is_held = ledger.budget, ledger.may_have_room(needed)
    text = (
        f"The budget {budget.name!r} is {'held by other calls' if is_held else 'used up'}: the next call may need "
        f"{budget.shown(needed)}, and of {budget.shown(ledger.limit)} there are {budget.shown(ledger.left)} left."
    )
    details = {
        "budget_id": budget.budget_id,
        "budget": budget.name,
        "subject": ledger.key.subject,
        "period_start": ledger.key.period_start.isoformat(),
        "left": plain(ledger.left),
        "needed": plain(needed),
        "on_exceed": budget.on_exceed.value,
        "held": is_held,
    }
    return Conflict(BUDGET_EXCEEDED, text, details=details)
