"""The catalog of agents, runs that are pinned to a version, and requests that no run waits for."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# No GIN index on `search` or `tags`: row-level security keeps PostgreSQL from using one, see docs/decisions/0011.
TABLES = """
CREATE TABLE agents (
    tenant_id text NOT NULL REFERENCES tenants,
    agent_id uuid NOT NULL,
    slug text NOT NULL CHECK (slug ~ '^[a-z0-9-]{1,64}$'),
    name text NOT NULL,
    description text NOT NULL,
    category text,
    tags text[] NOT NULL,
    owner_id text NOT NULL,
    search tsvector NOT NULL,
    aliases jsonb NOT NULL,
    current_id uuid,
    current_number text,
    latest_number text NOT NULL,
    latest_status text NOT NULL,
    statuses text[] NOT NULL,
    revision integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id),
    UNIQUE (tenant_id, slug)
);
CREATE INDEX agents_newest ON agents (tenant_id, created_at DESC, agent_id DESC);
CREATE TABLE agent_versions (
    tenant_id text NOT NULL,
    agent_id uuid NOT NULL,
    version_id uuid NOT NULL,
    place integer NOT NULL,
    number text NOT NULL,
    definition jsonb NOT NULL,
    changelog text NOT NULL,
    config_hash text NOT NULL CHECK (config_hash ~ '^[0-9a-f]{64}$'),
    status text NOT NULL CHECK (
        status IN ('draft', 'pending_approval', 'approved', 'published', 'deprecated', 'archived')
    ),
    transitions jsonb NOT NULL,
    draining boolean NOT NULL,
    request_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, version_id),
    UNIQUE (tenant_id, agent_id, number),
    UNIQUE (tenant_id, agent_id, place),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agents
);
ALTER TABLE runs ADD COLUMN version_id uuid;
CREATE INDEX runs_of_version ON runs (tenant_id, version_id)
    WHERE version_id IS NOT NULL AND status IN ('queued', 'running', 'waiting', 'paused');
"""


def upgrade() -> None:
    """Makes the tables, isolates each, and widens what is there."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in ("agent_versions", "agents"):
        isolate(table, "UPDATE", "DELETE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP INDEX runs_of_version")
    op.execute("ALTER TABLE runs DROP COLUMN version_id")
    op.execute("DROP TABLE agent_versions")
    op.execute("DROP TABLE agents")
