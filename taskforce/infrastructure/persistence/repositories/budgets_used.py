"""The use of budgets across all tenants, as the metrics show it."""

from typing import Final

import sqlalchemy as sa

from taskforce.core.interfaces.metrics import BudgetUsed
from taskforce.infrastructure.persistence.connection import Query, Row

# Two hours before: where clocks skip midnight, Python and PostgreSQL take different moments for it.
_FULLEST_SQL: Final = """
    SELECT b.tenant_id, b.budget_id, coalesce(b.currency, b.unit) AS unit, used.*
    FROM budgets b JOIN tenants t USING (tenant_id)
    CROSS JOIN LATERAL (
        SELECT date_trunc(b.period, CAST(:now AS timestamptz), coalesce(t.settings ->> 'time_zone', 'UTC')) AS since
    ) period
    CROSS JOIN LATERAL (
        SELECT b.limit_amount + coalesce(max(l.raised_by), 0) AS most, coalesce(max(l.spent), 0) AS spent,
            coalesce(max(l.reserved), 0) AS reserved
        FROM (
            SELECT raised_by, spent, reserved FROM budget_ledgers
            WHERE tenant_id = b.tenant_id AND budget_id = b.budget_id
                AND period_start >= period.since - interval '2 hours'
            ORDER BY (spent + reserved) / greatest(b.limit_amount + raised_by, 0.000000000001) DESC LIMIT 1
        ) l
    ) used
    WHERE b.period <> 'run'
    ORDER BY (used.spent + used.reserved) / greatest(used.most, 0.000000000001) DESC, b.budget_id LIMIT :most
"""
FULLEST = Query(sa.text(_FULLEST_SQL).bindparams(sa.bindparam("most", type_=sa.Integer)))
"""The fullest ledger of the current period of each budget of days or months, of all tenants, the fullest first."""


def budget_used(row: Row) -> BudgetUsed:
    """Builds the use of a budget from a row of `FULLEST`."""
    return BudgetUsed(row.budget_id, row.unit, limit=row.most, spent=row.spent, reserved=row.reserved)
