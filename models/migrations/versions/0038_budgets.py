"""Budgets, their ledgers, and what calls that are under way have reserved."""

from importlib import import_module

from alembic import op

from models.migrations.isolation import isolate, open_to_platform

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

# A budget that is deleted takes its ledgers along: what was spent stands in the usage records.
TABLES = (
    """
    CREATE TABLE budgets (
        tenant_id text NOT NULL REFERENCES tenants,
        budget_id uuid NOT NULL,
        name text NOT NULL,
        scope text NOT NULL CHECK (scope IN ('tenant', 'department', 'user', 'agent', 'session', 'run')),
        scope_id text NOT NULL,
        unit text NOT NULL CHECK (unit IN ('money', 'tokens', 'runs')),
        currency text CHECK (currency ~ '^[A-Z]{3}$'),
        period text NOT NULL CHECK (period IN ('run', 'day', 'month')),
        limit_amount numeric NOT NULL CHECK (limit_amount >= 0),
        soft numeric NOT NULL,
        on_exceed text NOT NULL CHECK (on_exceed IN ('ask', 'stop')),
        unpriced text NOT NULL CHECK (unpriced IN ('refuse', 'allow')),
        created_by text NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, budget_id)
    )
    """,
    """
    CREATE TABLE budget_ledgers (
        tenant_id text NOT NULL,
        budget_id uuid NOT NULL,
        subject text NOT NULL,
        period_start timestamptz NOT NULL,
        spent numeric NOT NULL DEFAULT 0,
        reserved numeric NOT NULL DEFAULT 0,
        raised_by numeric NOT NULL DEFAULT 0,
        soft_told_at timestamptz,
        PRIMARY KEY (tenant_id, budget_id, subject, period_start),
        FOREIGN KEY (tenant_id, budget_id) REFERENCES budgets ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE budget_reservations (
        tenant_id text NOT NULL,
        run_id uuid NOT NULL,
        step integer NOT NULL,
        call integer NOT NULL,
        attempt integer NOT NULL,
        budget_id uuid NOT NULL,
        subject text NOT NULL,
        period_start timestamptz NOT NULL,
        amount numeric NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, run_id, step, call, attempt, budget_id),
        FOREIGN KEY (tenant_id, budget_id) REFERENCES budgets ON DELETE CASCADE
    )
    """,
)

# Those of a period by themselves: what is used now, and what is so old that it may go.
PERIODS = "CREATE INDEX budget_ledgers_by_period ON budget_ledgers (tenant_id, budget_id, period_start)"
# The look for expired rows finds ledgers too, which are kept as long as usage records are, and 32 days at least.
FOUND: str = import_module("models.migrations.versions.0037_service_statistics").FINDS
BRANCH = """        ELSIF kind = 'ledger' THEN
            latest := least(latest, at - interval '32 days');
            expired := EXISTS (
                SELECT FROM public.budgets b JOIN public.budget_ledgers l USING (tenant_id, budget_id)
                WHERE b.tenant_id = tenant AND l.period_start < latest
            );
        END IF;
        IF expired THEN
"""
FINDS = FOUND.replace("CASE kind WHEN 'run' THEN 'data'", "CASE kind WHEN 'run' THEN 'data' WHEN 'ledger' THEN 'usage'")
FINDS = FINDS.replace("        END IF;\n        IF expired THEN\n", BRANCH)


def upgrade() -> None:
    """Makes the tables, isolates them, and lets the platform see how much of budgets is used."""
    for table in TABLES:
        op.execute(table)
    # For the deletion of a budget; every other look is by the run.
    op.execute("CREATE INDEX budget_reservations_by_budget ON budget_reservations (tenant_id, budget_id)")
    for name in ("budgets", "budget_ledgers", "budget_reservations"):
        isolate(name, "UPDATE", "DELETE")
    op.execute(PERIODS)
    open_to_platform("budgets")
    open_to_platform("budget_ledgers")
    op.execute(FINDS)


def downgrade() -> None:
    """Takes it back."""
    op.execute(FOUND)
    for name in ("budget_reservations", "budget_ledgers", "budgets"):
        op.execute(f"DROP TABLE {name}")
