"""Tenants set prices of their own: of models, tools, queries, storage, calls and runs."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE model_prices (
    tenant_id text NOT NULL REFERENCES tenants,
    price_id uuid NOT NULL,
    resource text NOT NULL CHECK (
        resource IN ('model', 'embedding', 'tool', 'rag_query', 'storage', 'api_call', 'agent_execution')
    ),
    name text COLLATE "C" NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    unit text NOT NULL,
    amounts jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz CHECK (valid_until > valid_from),
    notes text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, price_id)
)
"""


def upgrade() -> None:
    """Makes the table, and isolates it."""
    op.execute(TABLE)
    # In the order of the list, and for those of one thing, whose times must not overlap.
    op.execute("CREATE INDEX model_prices_by_name ON model_prices (tenant_id, resource, name, price_id)")
    isolate("model_prices", "UPDATE", "DELETE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE model_prices")
