"""Webhooks, the deliveries to them, and the attempts of each."""

from alembic import op

from models.migrations.isolation import isolate, open_to_platform

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A delivery names its webhook without a foreign key: the log outlives it, and a profile's webhook has no row.
TABLES = """
CREATE TABLE webhooks (
    tenant_id text NOT NULL REFERENCES tenants,
    webhook_id uuid NOT NULL,
    url text NOT NULL,
    format text NOT NULL CHECK (format IN ('standard', 'guide')),
    events text[] CHECK (cardinality(events) > 0),
    definition_id text,
    enabled boolean NOT NULL,
    disabled_by text CHECK (disabled_by IN ('person', 'gone')),
    description text NOT NULL,
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_until timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id)
);
CREATE TABLE webhook_deliveries (
    tenant_id text NOT NULL REFERENCES tenants,
    delivery_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event text NOT NULL,
    subject jsonb NOT NULL,
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'pending', 'delivered', 'failed', 'stopped')),
    next_attempt_at timestamptz,
    finished_at timestamptz,
    redelivery_of uuid,
    PRIMARY KEY (tenant_id, delivery_id)
);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (tenant_id, webhook_id, created_at DESC, delivery_id DESC);
CREATE INDEX webhook_deliveries_queued ON webhook_deliveries (created_at) WHERE status = 'queued';
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (tenant_id, webhook_id)
    WHERE status IN ('queued', 'pending');
CREATE TABLE webhook_attempts (
    tenant_id text NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    at timestamptz NOT NULL,
    http_status integer,
    error text,
    excerpt text NOT NULL,
    duration_ms integer NOT NULL,
    PRIMARY KEY (tenant_id, delivery_id, number),
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES webhook_deliveries
);
"""

RIGHTS = {
    "webhook_attempts": (),
    "webhook_deliveries": ("UPDATE",),
    "webhooks": ("UPDATE", "DELETE"),
}


def upgrade() -> None:
    """Makes the tables and isolates each; the platform door finds what waits to be started."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table, rights in RIGHTS.items():
        isolate(table, *rights)
    open_to_platform("webhook_deliveries", "status = 'queued'")


def downgrade() -> None:
    """Takes them back."""
    for table in RIGHTS:
        op.execute(f"DROP TABLE {table}")
