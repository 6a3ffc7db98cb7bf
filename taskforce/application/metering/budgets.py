"""A tenant's budgets: made, changed, listed and removed by people, and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from taskforce.application.identity.principals import Actor
from taskforce.application.metering.budget_books import BudgetBooks
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import missing, new_id, parse_id
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.metering.budget_ledgers import Ledger
from taskforce.core.domain.metering.budgets import (
    MAX_BUDGETS,
    Budget,
    BudgetPeriod,
    BudgetTerms,
    Owner,
    snapshot,
)
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.repositories.budgets import BudgetFilter
from taskforce.core.interfaces.store import Records, Store

LISTED_LEDGERS: Final = 5
"""Ledgers of each budget that a list shows, those with the least left."""
SHOWN_LEDGERS: Final = 100
_RUNS_SHOWN: Final = timedelta(days=30)
"""How long ago runs may have been created whose ledgers are shown."""


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """A budget, and what is used of it now.

    Attributes:
        budget: The budget.
        ledgers: Ledgers of the current period, those with the most used first.
    """

    budget: Budget
    ledgers: Sequence[Ledger] = ()


async def create_budget(store: Store, actor: Actor, terms: BudgetTerms) -> Budget:
    """Makes a budget. It counts what is used from the next step of every run on.

    Args:
        store: The tenants' data.
        actor: The caller.
        terms: The budget.

    Raises:
        Invalid: As `Budget.stated`.
        Conflict: `budgets_limit_reached`.
    """
    budget = Budget.stated(terms, new_id(), actor.principal.user.user_id, actor.now)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        # First: it locks the tenant's row against other changes of its budgets until this one is committed.
        await records.tenant.revise_metering()
        if await records.budgets.count() >= MAX_BUDGETS:
            text = f"A tenant has at most {MAX_BUDGETS} budgets; one with the scope id `*` counts for each by itself."
            raise Conflict("budgets_limit_reached", text, details={"max_budgets": MAX_BUDGETS})
        await records.budgets.add(budget)
        await _audit(records, actor, "budget.create", None, budget)
    return budget


async def change_budget(store: Store, actor: Actor, budget_id: str, terms: BudgetTerms, *, force: bool) -> BudgetUse:
    """Changes a budget's terms; what is spent stays. Runs that wait for more go on where there is room now.

    Args:
        store: The tenants' data.
        actor: The caller.
        budget_id: The budget.
        terms: Its new terms.
        force: Whether the limit may be below what is spent already.

    Raises:
        Missing: `budget_not_found`.
        Invalid: As `Budget.changed`.
        Conflict: `budget_below_spent`.
    """
    known_id, tenant = parse_id(budget_id, "budget"), actor.principal.tenant
    async with store.tenant(tenant.tenant_id) as records:
        await records.tenant.revise_metering()
        before = await _found(records, known_id)
        after = before.changed(terms, actor.now)
        used = await records.budgets.most_used({after: _since(after, actor.now, tenant.settings.zone)}, SHOWN_LEDGERS)
        beyond = [one for one in used if one.spent > one.limit]
        if beyond and after.limit < before.limit and not force:
            raise _below_spent(beyond[0])
        await records.budgets.save(after)
        await _audit(records, actor, "budget.change", before, after)
    return BudgetUse(after, used)


async def remove_budget(store: Store, actor: Actor, budget_id: str) -> None:
    """Removes a budget with its ledgers; what was used stands in the usage records.

    Raises:
        Missing: `budget_not_found`.
    """
    known_id = parse_id(budget_id, "budget")
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        await records.tenant.revise_metering()
        budget = await _found(records, known_id)
        await records.budgets.remove(known_id)
        await _audit(records, actor, "budget.remove", budget, None)


async def find_budget(store: Store, actor: Actor, budget_id: str) -> BudgetUse:
    """Finds a budget, with the ledgers of its current period.

    Raises:
        Missing: `budget_not_found`.
    """
    known_id, tenant = parse_id(budget_id, "budget"), actor.principal.tenant
    async with store.reading(tenant.tenant_id) as records:
        budget = await _found(records, known_id)
        since = {budget: _since(budget, actor.now, tenant.settings.zone)}
        return BudgetUse(budget, await records.budgets.most_used(since, SHOWN_LEDGERS))


async def list_budgets(
    store: Store, actor: Actor, which: BudgetFilter, after: str | None, most: int
) -> Sequence[BudgetUse]:
    """Lists the tenant's budgets by id, each with its most used ledgers of the current period.

    Args:
        store: The tenants' data.
        actor: The caller.
        which: The filter.
        after: The id of the last budget of the page before.
        most: Budgets at most.
    """
    tenant = actor.principal.tenant
    zone = tenant.settings.zone
    async with store.reading(tenant.tenant_id) as records:
        found = await records.budgets.page(which, after, most)
        since = {budget: _since(budget, actor.now, zone) for budget in found}
        used = await records.budgets.most_used(since, LISTED_LEDGERS)
    return [BudgetUse(one, [ledger for ledger in used if ledger.budget is one]) for one in found]


async def own_budgets(store: Store, books: BudgetBooks, actor: Actor) -> Sequence[Ledger]:
    """Returns the ledgers that the actor draws on, whatever they run.

    Args:
        store: The tenants' data.
        books: The budgets of the tenants.
        actor: The caller.
    """
    principal = actor.principal
    owner = Owner(principal.user.user_id, Attribution.read(principal.user.attributes).department)
    return await _ledgers(store, books, principal.tenant, owner, actor.now)


async def budgets_of_run(
    store: Store, books: BudgetBooks, tenant: Tenant, run_id: str, now: datetime
) -> Sequence[Ledger]:
    """Returns the ledgers that a run draws on now; no query where its tenant has no budget.

    Args:
        store: The tenants' data.
        books: The budgets of the tenants.
        tenant: The tenant, as it was just read.
        run_id: The run.
        now: The time, UTC.
    """
    async with store.reading(tenant.tenant_id) as records:
        if not await books.of(records, tenant):
            return ()
        spec = await records.runs.spec(run_id)
    return () if spec is None else await _ledgers(store, books, tenant, Owner.of_run(spec), now)


async def _ledgers(store: Store, books: BudgetBooks, tenant: Tenant, owner: Owner, now: datetime) -> Sequence[Ledger]:
    async with store.reading(tenant.tenant_id) as records:
        return await records.budgets.ledgers((await books.of(records, tenant)).draws(owner, now))


async def _found(records: Records, budget_id: str) -> Budget:
    budget = await records.budgets.get(budget_id)
    if budget is None:
        raise missing("budget")
    return budget


async def _audit(records: Records, actor: Actor, action: str, before: Budget | None, after: Budget | None) -> None:
    sides = {"before": before and snapshot(before), "after": after and snapshot(after)}
    budget = before or after
    assert budget is not None
    await records.audit.append(actor.event(action, "budget", budget.budget_id, **sides))


def _since(budget: Budget, now: datetime, zone: tzinfo) -> datetime:
    if budget.period is BudgetPeriod.RUN:
        return now - _RUNS_SHOWN
    return budget.period.beginning(now, zone)


def _below_spent(ledger: Ledger) -> Conflict:
    budget = ledger.budget
    whose = f" by {ledger.key.subject}" if ledger.key.subject else ""
    text = (
        f"{budget.shown(ledger.spent)} are spent{whose} already in this period, which is more than "
        f"{budget.shown(ledger.limit)}. Send `force=true` to set the limit all the same."
    )
    details = {"spent": str(ledger.spent), "subject": ledger.key.subject}
    return Conflict("budget_below_spent", text, details=details)
