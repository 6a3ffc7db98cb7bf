"""Who may what: tenants, service accounts, roles, grants, API keys, policies, rate limits, the chained audit log."""

from alembic import op

from models.migrations.isolation import APP_ROLE, isolate, open_to_platform

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A default fills the rows that are there: an UPDATE by the owner would touch none, row-level security being forced.
CHANGES = """
ALTER TABLE tenants ADD COLUMN status text NOT NULL DEFAULT 'active'
    CHECK (status IN ('active', 'disabled', 'deleting'));
ALTER TABLE tenants ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN updated_at timestamptz NOT NULL DEFAULT 'epoch';
ALTER TABLE tenants ALTER status DROP DEFAULT, ALTER metadata DROP DEFAULT, ALTER updated_at DROP DEFAULT;
ALTER TABLE tenants DROP COLUMN active;
ALTER TABLE users ADD COLUMN kind text NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'service'));
ALTER TABLE users ALTER kind DROP DEFAULT;
CREATE INDEX audit_events_newest ON audit_events (tenant_id, at DESC, audit_id DESC);
CREATE INDEX runs_open ON runs (tenant_id, session_id) WHERE status IN ('queued', 'running', 'waiting', 'paused');
"""

TABLES = """
CREATE TABLE roles (
    tenant_id text NOT NULL REFERENCES tenants,
    role_id text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    permissions text[] NOT NULL,
    metadata jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, role_id)
);
CREATE TABLE resource_grants (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    role_id text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    granted_by text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, role_id, resource_type, resource_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users
);
CREATE TABLE api_keys (
    tenant_id text NOT NULL,
    key_id uuid NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    hash text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    roles text[] NOT NULL,
    metadata jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, key_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users
);
CREATE INDEX api_keys_by_hash ON api_keys (hash);
CREATE TABLE policy_documents (
    tenant_id text NOT NULL REFERENCES tenants,
    version integer NOT NULL,
    document jsonb NOT NULL,
    saved_by text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
CREATE TABLE rate_buckets (
    tenant_id text NOT NULL REFERENCES tenants,
    bucket text NOT NULL,
    tokens double precision NOT NULL,
    at timestamptz NOT NULL,
    granted boolean NOT NULL,
    PRIMARY KEY (tenant_id, bucket)
);
CREATE TABLE audit_chain (
    tenant_id text NOT NULL,
    seq bigint NOT NULL,
    audit_id uuid NOT NULL,
    hash text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (tenant_id, seq),
    UNIQUE (tenant_id, audit_id),
    FOREIGN KEY (tenant_id, audit_id) REFERENCES audit_events
);
CREATE TABLE audit_anchors (
    tenant_id text NOT NULL REFERENCES tenants,
    seq bigint NOT NULL,
    hash text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);
"""

RIGHTS = {
    "audit_anchors": (),
    "audit_chain": (),
    "rate_buckets": ("UPDATE",),
    "policy_documents": (),
    "api_keys": ("UPDATE",),
    "resource_grants": ("DELETE",),
    "roles": ("UPDATE", "DELETE"),
}


def upgrade() -> None:
    """Changes and makes the tables, and isolates each."""
    for statement in (CHANGES + TABLES).split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table, rights in RIGHTS.items():
        isolate(table, *rights)
    op.execute(f"GRANT UPDATE ON tenants TO {APP_ROLE}")
    open_to_platform("api_keys")


def downgrade() -> None:
    """Takes back what was added."""
    for table in RIGHTS:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX runs_open")
    op.execute("DROP INDEX audit_events_newest")
    op.execute("ALTER TABLE users DROP COLUMN kind")
    op.execute(f"REVOKE UPDATE ON tenants FROM {APP_ROLE}")
    op.execute("ALTER TABLE tenants ADD COLUMN active boolean NOT NULL DEFAULT true")
    op.execute("ALTER TABLE tenants ALTER active DROP DEFAULT")
    op.execute("ALTER TABLE tenants DROP COLUMN status, DROP COLUMN metadata, DROP COLUMN updated_at")
