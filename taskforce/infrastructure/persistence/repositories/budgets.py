"""Repository of tenants' budgets and their ledgers in PostgreSQL.

Whoever changes several ledgers locks them first, in the order of their keys, in the statement that changes them: so no
two transactions wait for each other. What it read before the lock is not trusted: reservations are deleted to be read.
All lock in one order: budgets, then reservations, then ledgers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.budgets import BudgetLedgerRow, BudgetReservationRow, BudgetRow
from taskforce.core.domain.metering.budget_ledgers import Draw, Ledger
from taskforce.core.domain.metering.budgets import (
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetUnit,
    LedgerKey,
    OnExceed,
    Unpriced,
)
from taskforce.core.interfaces.repositories.budgets import BudgetFilter, CallKey, Reserved
from taskforce.infrastructure.persistence.connection import DeferredWrite, Query, Row
from taskforce.infrastructure.persistence.repository import Repository, storable, table, where

_BUDGETS, _LEDGERS, _RESERVATIONS = table(BudgetRow), table(BudgetLedgerRow), table(BudgetReservationRow)
_TERMS: Final = ("name", "limit_amount", "soft", "on_exceed", "unpriced", "updated_at")
_KEY: Final = "budget_id, subject, period_start"
_ADD = Query(insert(_BUDGETS))
_GET = Query(sa.select(_BUDGETS).where(where(_BUDGETS, "budget_id")))
_SAVE = Query(sa.update(_BUDGETS).where(where(_BUDGETS, "budget_id")), sets=_TERMS)
_LOCK = Query(sa.select(_BUDGETS.c.budget_id).where(where(_BUDGETS, "budget_id")).with_for_update())
_RELEASE = Query(sa.delete(_RESERVATIONS).where(where(_RESERVATIONS, "budget_id")))
_REMOVE = Query(sa.delete(_BUDGETS).where(where(_BUDGETS, "budget_id")))
_TELL_SOFT = Query(
    sa.update(_LEDGERS).where(where(_LEDGERS, "budget_id", "subject", "period_start")), sets=("soft_told_at",)
)
_COUNT = Query(sa.select(sa.func.count()).select_from(_BUDGETS).where(where(_BUDGETS)))
_ALL = Query(sa.select(_BUDGETS).where(where(_BUDGETS)).order_by(_BUDGETS.c.budget_id))
_MOST_USED = Query(
    sa.text(
        """
        SELECT used.* FROM unnest(CAST(:budgets AS uuid[]), CAST(:since AS timestamptz[])) AS b (budget_id, since)
        CROSS JOIN LATERAL (
            SELECT * FROM budget_ledgers l
            WHERE l.tenant_id = :tenant AND l.budget_id = b.budget_id AND l.period_start >= b.since
            ORDER BY l.spent + l.reserved DESC, l.subject, l.period_start DESC LIMIT :most
        ) used
        """
    ).bindparams(sa.bindparam("most", type_=sa.Integer))
)

_ASKED: Final = f"""
    SELECT * FROM unnest(
        CAST(:budgets AS uuid[]), CAST(:subjects AS text[]), CAST(:starts AS timestamptz[]),
        CAST(:amounts AS numeric[]), CAST(:limits AS numeric[])
    ) AS asked ({_KEY}, amount, most)
"""  # noqa: S608 - our own text
_OF_LEDGER: Final = "l.tenant_id = :tenant AND (l.budget_id, l.subject, l.period_start)"
_STATE_KEY: Final = "(state.budget_id, state.subject, state.period_start)"
_BEFORE_KEY: Final = "(before.budget_id, before.subject, before.period_start)"
_READ_SQL: Final = f"""
        WITH asked AS MATERIALIZED ({_ASKED})
        SELECT l.* FROM asked JOIN budget_ledgers l USING ({_KEY}) WHERE l.tenant_id = :tenant
        """  # noqa: S608 - our own text
_OPEN_SQL: Final = f"""
        INSERT INTO budget_ledgers (tenant_id, {_KEY})
        SELECT b.tenant_id, {_KEY} FROM ({_ASKED}) asked JOIN budgets b USING (budget_id)
        WHERE b.tenant_id = :tenant ORDER BY {_KEY} FOR KEY SHARE OF b
        ON CONFLICT DO NOTHING
        """  # noqa: S608 - our own text
_RESERVE_SQL: Final = f"""
        WITH asked AS MATERIALIZED (
            SELECT {_KEY}, amount, most FROM ({_ASKED}) every JOIN budgets b USING (budget_id)
            WHERE b.tenant_id = :tenant ORDER BY {_KEY} FOR KEY SHARE OF b
        ), opened AS MATERIALIZED (
            SELECT count(l.tenant_id) = count(*) AS every
            FROM asked LEFT JOIN budget_ledgers l ON {_OF_LEDGER} = (asked.budget_id, asked.subject, asked.period_start)
        ), going AS MATERIALIZED (
            SELECT run_id FROM runs
            WHERE tenant_id = :tenant AND run_id = CAST(:run AS uuid)
                AND status IN ('queued', 'running', 'waiting', 'paused') AND (SELECT count(*) FROM asked) >= 0
            FOR SHARE
        ), released AS (
            DELETE FROM budget_reservations r USING going, opened
            WHERE r.tenant_id = :tenant AND r.run_id = going.run_id AND r.step = :step AND r.call = :call
                AND opened.every
            RETURNING r.budget_id, r.subject, r.period_start, r.amount
        ), locked AS MATERIALIZED (
            SELECT l.* FROM budget_ledgers l
            WHERE {_OF_LEDGER} IN (SELECT {_KEY} FROM asked UNION ALL SELECT {_KEY} FROM released)
                AND (SELECT every FROM opened)
            ORDER BY {_KEY} FOR UPDATE
        ), state AS MATERIALIZED (
            SELECT {_KEY}, l.spent, l.raised_by, l.soft_told_at, asked.amount, asked.most,
                l.reserved - coalesce((
                    SELECT sum(r.amount) FROM released r
                    WHERE (r.budget_id, r.subject, r.period_start) = (l.budget_id, l.subject, l.period_start)
                ), 0) AS reserved
            FROM locked l LEFT JOIN asked USING ({_KEY})
        ), verdict AS MATERIALIZED (
            SELECT NOT EXISTS (SELECT FROM going) AS ended, count(*) = :number AND EXISTS (SELECT FROM going)
                AND bool_and(spent + reserved + amount <= most + raised_by) AS granted
            FROM state WHERE amount IS NOT NULL
        ), changed AS (
            UPDATE budget_ledgers l
            SET reserved = state.reserved + CASE WHEN verdict.granted THEN coalesce(state.amount, 0) ELSE 0 END
            FROM state, verdict
            WHERE {_OF_LEDGER} = {_STATE_KEY}
        ), kept AS (
            INSERT INTO budget_reservations (tenant_id, run_id, step, call, attempt, {_KEY}, amount, at)
            SELECT :tenant, CAST(:run AS uuid), :step, :call, :attempt, {_KEY}, amount, CAST(:at AS timestamptz)
            FROM asked, verdict WHERE verdict.granted
        )
        SELECT {_KEY}, spent, reserved, raised_by, soft_told_at, granted, ended FROM state, verdict
        WHERE amount IS NOT NULL
        """  # noqa: S608 - our own text
_SETTLE_SQL: Final = f"""
        WITH asked AS MATERIALIZED ({_ASKED}), released AS (
            DELETE FROM budget_reservations
            WHERE tenant_id = :tenant AND run_id = CAST(:run AS uuid) AND step = :step AND call = :call
                AND attempt = :attempt
            RETURNING {_KEY}, amount
        ), due AS MATERIALIZED (
            SELECT {_KEY}, sum(used) AS used, sum(freed) AS freed, max(most) AS most, max(soft) AS soft
            FROM (
                SELECT {_KEY}, amount AS used, 0 AS freed, most, soft
                FROM asked JOIN unnest(CAST(:budgets AS uuid[]), CAST(:softs AS numeric[])) AS s (budget_id, soft)
                    USING (budget_id)
                UNION ALL SELECT {_KEY}, 0, amount, NULL, NULL FROM released
            ) every GROUP BY {_KEY}
        ), locked AS MATERIALIZED (
            SELECT l.* FROM budget_ledgers l WHERE {_OF_LEDGER} IN (SELECT {_KEY} FROM due) ORDER BY {_KEY} FOR UPDATE
        ), changed AS (
            UPDATE budget_ledgers l
            SET spent = before.spent + due.used, reserved = before.reserved - due.freed,
                soft_told_at = CASE
                    WHEN before.spent + due.used >= (due.most + before.raised_by) * due.soft
                        THEN coalesce(before.soft_told_at, :at)
                    ELSE before.soft_told_at
                END
            FROM locked before JOIN due USING ({_KEY})
            WHERE {_OF_LEDGER} = {_BEFORE_KEY}
            RETURNING l.*, before.soft_told_at IS NULL AND l.soft_told_at IS NOT NULL AS told
        )
        SELECT * FROM changed WHERE told
        """  # noqa: S608 - our own text
_RELEASED_SQL: Final = f"""
            DELETE FROM budget_reservations WHERE tenant_id = :tenant AND run_id = CAST(:run AS uuid)
            RETURNING {_KEY}, amount, step
            """  # noqa: S608 - our own text
_DUE_SQL: Final = f"""
            SELECT {_KEY}, sum(amount) AS freed, sum(CASE WHEN step = 0 THEN amount ELSE 0 END) AS used
            FROM budgets_released GROUP BY {_KEY}
            """  # noqa: S608 - our own text
_LOCKED_SQL: Final = f"""
            SELECT l.* FROM budget_ledgers l WHERE {_OF_LEDGER} IN (SELECT {_KEY} FROM budgets_due)
            ORDER BY {_KEY} FOR UPDATE
            """  # noqa: S608 - our own text
_FREED_SQL: Final = f"""
            UPDATE budget_ledgers l
            SET spent = before.spent + due.used, reserved = before.reserved - due.freed
            FROM budgets_locked before JOIN budgets_due due USING ({_KEY})
            WHERE {_OF_LEDGER} = {_BEFORE_KEY}
            """  # noqa: S608 - our own text
_RAISE_SQL: Final = f"""
        INSERT INTO budget_ledgers (tenant_id, {_KEY}, raised_by)
        SELECT b.tenant_id, b.budget_id, CAST(:subject AS text), :start, :amount FROM budgets b
        WHERE b.tenant_id = :tenant AND b.budget_id = CAST(:budget AS uuid) FOR KEY SHARE
        ON CONFLICT (tenant_id, {_KEY}) DO UPDATE SET raised_by = budget_ledgers.raised_by + excluded.raised_by
        RETURNING raised_by
        """  # noqa: S608 - our own text
_ERASE_SQL: Final = f"""
        DELETE FROM budget_ledgers l WHERE {_OF_LEDGER} IN (
            SELECT {_KEY} FROM budgets b JOIN budget_ledgers o USING (tenant_id, budget_id)
            WHERE b.tenant_id = :tenant AND o.period_start < :before AND o.reserved = 0 AND NOT EXISTS (
                SELECT FROM runs r
                WHERE r.tenant_id = :tenant AND r.finished_at IS NULL
                    AND r.run_id = CASE b.period WHEN 'run' THEN CAST(o.subject AS uuid) END
            ) LIMIT :most
        )
        """  # noqa: S608 - our own text
_READ = Query(sa.text(_READ_SQL))
_OPEN = Query(sa.text(_OPEN_SQL))
# The run's row is locked against its end, after which nothing would release what is reserved.
_RESERVE = Query(
    sa.text(_RESERVE_SQL).bindparams(
        sa.bindparam("step", type_=sa.Integer),
        sa.bindparam("call", type_=sa.Integer),
        sa.bindparam("attempt", type_=sa.Integer),
        sa.bindparam("number", type_=sa.Integer),
    )
)
_SETTLE = Query(
    sa.text(_SETTLE_SQL).bindparams(
        sa.bindparam("step", type_=sa.Integer),
        sa.bindparam("call", type_=sa.Integer),
        sa.bindparam("attempt", type_=sa.Integer),
    )
)
# Sent together with the end of the run: a run that has reserved nothing costs no round trip.
_FINISH = DeferredWrite(
    updates="budget_ledgers",
    budgets_released=Query(sa.text(_RELEASED_SQL)),
    budgets_due=Query(sa.text(_DUE_SQL)),
    budgets_locked=Query(sa.text(_LOCKED_SQL)),
    budgets_freed=Query(sa.text(_FREED_SQL)),
)
_RAISE = Query(
    sa.text(_RAISE_SQL).bindparams(
        sa.bindparam("start", type_=_LEDGERS.c.period_start.type), sa.bindparam("amount", type_=sa.Numeric)
    )
)
_ERASE = Query(
    sa.text(_ERASE_SQL).bindparams(
        sa.bindparam("before", type_=_LEDGERS.c.period_start.type), sa.bindparam("most", type_=sa.Integer)
    )
)


class BudgetRepository(Repository):
    """Stores a tenant's budgets and their ledgers; fulfils `Budgets`."""

    async def add(self, budget: Budget) -> None:
        """Adds a budget."""
        fixed = {
            "tenant_id": self._tenant_id,
            "budget_id": budget.budget_id,
            "scope": budget.scope.value,
            "scope_id": storable(budget.scope_id),
            "unit": budget.unit.value,
            "currency": budget.currency,
            "period": budget.period.value,
            "created_by": budget.created_by,
            "created_at": budget.created_at,
        }
        await self._connection.change(_ADD, {**fixed, **_terms(budget)})

    async def get(self, budget_id: str) -> Budget | None:
        """Returns a budget; None without one."""
        row = await self._connection.first(_GET, self._of(budget_id=budget_id))
        return None if row is None else _budget(row)

    async def save(self, budget: Budget) -> None:
        """Updates a budget's terms."""
        await self._connection.change(_SAVE, {**self._of(budget_id=budget.budget_id), **_terms(budget)})

    async def remove(self, budget_id: str) -> bool:
        """Removes a budget with its ledgers; False when there was none."""
        # Calls that reserve on it at this moment are waited for; those that are settled find their ledgers, or none.
        await self._connection.value(_LOCK, self._of(budget_id=budget_id))
        await self._connection.change(_RELEASE, self._of(budget_id=budget_id))
        return await self._connection.change(_REMOVE, self._of(budget_id=budget_id)) > 0

    async def count(self) -> int:
        """Returns how many budgets the tenant has."""
        return int(await self._connection.value(_COUNT, self._of()))

    async def all(self) -> Sequence[Budget]:
        """Returns every budget, by id."""
        return [_budget(row) for row in await self._connection.all(_ALL, self._of())]

    async def page(self, which: BudgetFilter, after: str | None, most: int) -> Sequence[Budget]:
        """Returns a page of budgets by id."""
        query = sa.select(_BUDGETS).where(_BUDGETS.c.tenant_id == self._tenant_id)
        if which.scope is not None:
            query = query.where(_BUDGETS.c.scope == which.scope.value)
        if which.scope_id is not None:
            query = query.where(_BUDGETS.c.scope_id == storable(which.scope_id))
        if after is not None:
            query = query.where(_BUDGETS.c.budget_id > after)
        return [_budget(row) for row in await self._listed(query.order_by(_BUDGETS.c.budget_id).limit(most))]

    async def ledgers(self, draws: Sequence[Draw]) -> Sequence[Ledger]:
        """Returns the ledgers of draws, in their order; one without use is empty."""
        rows = await self._connection.all(_READ, self._asked(draws)) if draws else ()
        found = {_key(row): row for row in rows}
        return [
            Ledger(draw.budget, draw.key) if draw.key not in found else _ledger(draw.budget, found[draw.key])
            for draw in draws
        ]

    async def most_used(self, since: Mapping[Budget, datetime], most: int) -> Sequence[Ledger]:
        """Returns ledgers of budgets whose period began at a time or later, of each those with the most used."""
        budgets = {one.budget_id: one for one in since}
        values = {"tenant": self._tenant_id, "budgets": list(budgets), "since": list(since.values()), "most": most}
        rows = await self._connection.all(_MOST_USED, values) if budgets else ()
        return [_ledger(budgets[row.budget_id], row) for row in rows]

    async def reserve(self, call: CallKey, draws: Sequence[Draw], now: datetime) -> Reserved:
        """Reserves for an attempt of a call on every ledger, or on none; releases what earlier ones had reserved."""
        values = {**self._asked(draws), **self._call(call), "number": len(draws), "at": now}
        rows = await self._connection.all(_RESERVE, values)
        if len(rows) < len(draws):
            # The first call of a period opens its ledgers, which only the next statement sees. Until they are open none
            # is locked: who waits for another to open one may hold none that the other needs.
            await self._connection.change(_OPEN, self._asked(draws))
            rows = await self._connection.all(_RESERVE, values)
        if len(rows) < len(draws):
            # A budget was removed since its tenant was read.
            found = {_key(row) for row in rows}
            left = [draw for draw in draws if draw.key in found]
            return await self.reserve(call, left, now) if left else Reserved(granted=True, ledgers=())
        budgets = {draw.key: draw.budget for draw in draws}
        ledgers = sorted((_ledger(budgets[_key(row)], row) for row in rows), key=lambda one: one.key)
        granted, ended = (all(row[told] for row in rows) for told in ("granted", "ended"))
        return Reserved(granted, ledgers, ended)

    async def settle(self, call: CallKey, draws: Sequence[Draw], now: datetime) -> Sequence[Ledger]:
        """Adds what an attempt has used, and releases what it had reserved."""
        if call.call:
            # Nothing was reserved for a tool, so that it may be the first in a period.
            await self._connection.change(_OPEN, self._asked(draws))
        softs = {"softs": [draw.budget.soft for draw in draws], "at": now}
        rows = await self._connection.all(_SETTLE, {**self._asked(draws), **self._call(call), **softs})
        budgets = {draw.key: draw.budget for draw in draws}
        return [_ledger(budgets[_key(row)], row) for row in rows]

    async def tell_soft(self, key: LedgerKey, now: datetime) -> None:
        """Notes that people are told that a ledger, which is locked, has passed its soft limit."""
        named = {"budget_id": key.budget_id, "subject": storable(key.subject), "period_start": key.period_start}
        await self._connection.change(_TELL_SOFT, {**self._of(**named), "soft_told_at": now})

    async def finish(self, run_id: str) -> None:
        """Releases what an ended run had still reserved, and counts it as a run where it had begun."""
        await self._connection.later(_FINISH, {"tenant": self._tenant_id, "run": run_id})

    async def raise_ledger(self, key: LedgerKey, amount: Decimal) -> Decimal | None:
        """Raises the limit of a ledger by an amount; returns by how much it is raised in all, None without a budget."""
        values = {"budget": key.budget_id, "subject": storable(key.subject), "start": key.period_start}
        found: Decimal | None = await self._connection.value(
            _RAISE, {"tenant": self._tenant_id, **values, "amount": amount}
        )
        return found

    async def erase(self, began_before: datetime, most: int) -> int:
        """Erases ledgers of periods that began before a time, those of open runs left out; returns their number."""
        values = {"tenant": self._tenant_id, "before": began_before, "most": most}
        return await self._connection.change(_ERASE, values)

    def _asked(self, draws: Sequence[Draw]) -> dict[str, object]:
        return {
            "tenant": self._tenant_id,
            "budgets": [draw.key.budget_id for draw in draws],
            "subjects": [storable(draw.key.subject) for draw in draws],
            "starts": [draw.key.period_start for draw in draws],
            "amounts": [draw.amount for draw in draws],
            "limits": [draw.budget.limit for draw in draws],
        }

    def _call(self, call: CallKey) -> dict[str, object]:
        return {"run": call.run_id, "step": call.step, "call": call.call, "attempt": call.attempt}


def _terms(budget: Budget) -> dict[str, object]:
    return {
        "name": storable(budget.name),
        "limit_amount": budget.limit,
        "soft": budget.soft,
        "on_exceed": budget.on_exceed.value,
        "unpriced": budget.unpriced.value,
        "updated_at": budget.updated_at,
    }


def _budget(row: Row) -> Budget:
    return Budget(
        budget_id=row.budget_id,
        name=row.name,
        scope=BudgetScope(row.scope),
        scope_id=row.scope_id,
        unit=BudgetUnit(row.unit),
        currency=row.currency,
        period=BudgetPeriod(row.period),
        limit=row.limit_amount,
        soft=row.soft,
        on_exceed=OnExceed(row.on_exceed),
        unpriced=Unpriced(row.unpriced),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _key(row: Row) -> LedgerKey:
    return LedgerKey(row.budget_id, row.subject, row.period_start)


def _ledger(budget: Budget, row: Row) -> Ledger:
    return Ledger(budget, _key(row), row.spent, row.reserved, row.raised_by, row.soft_told_at)
