"""Tenants, users, runs with all that hangs on them, approvals, usage, audit."""

from alembic import op

from models.migrations.isolation import isolate, open_to_platform

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE tenants (
    tenant_id text PRIMARY KEY CHECK (tenant_id ~ '^[A-Za-z0-9._-]{1,64}$'),
    name text NOT NULL,
    active boolean NOT NULL,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE users (
    tenant_id text NOT NULL REFERENCES tenants,
    user_id text NOT NULL,
    username text NOT NULL,
    email text,
    active boolean NOT NULL,
    granted_roles text[] NOT NULL,
    claimed_roles text[] NOT NULL,
    claims_seen_at timestamptz,
    claims_issued_at timestamptz,
    attributes jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE TABLE sessions (
    tenant_id text NOT NULL,
    session_id text NOT NULL,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users
);
CREATE TABLE runs (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    session_id text NOT NULL,
    user_id text NOT NULL,
    profile text NOT NULL,
    agent_id text NOT NULL,
    agent jsonb NOT NULL,
    mission text NOT NULL,
    context jsonb NOT NULL,
    max_steps integer NOT NULL,
    max_tokens bigint NOT NULL,
    max_seconds integer NOT NULL,
    status text NOT NULL,
    waiting_for text,
    answer text,
    stop_reason text,
    error_code text,
    error_message text,
    steps integer NOT NULL,
    tool_calls integer NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    wasted_tokens bigint NOT NULL,
    event_seq bigint NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions,
    FOREIGN KEY (tenant_id, user_id) REFERENCES users
);
CREATE INDEX runs_newest ON runs (tenant_id, created_at DESC, run_id DESC);
CREATE INDEX runs_of_session ON runs (tenant_id, session_id, created_at);
CREATE INDEX runs_unstarted ON runs (created_at) WHERE status = 'queued';
CREATE TABLE transcript (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    call integer NOT NULL,
    kind text NOT NULL,
    text text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, step, call),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE run_words (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    word_id uuid NOT NULL,
    author_id text NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, word_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE run_effects (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    call integer NOT NULL,
    tool text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, step, call),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE run_results (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    call integer NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (tenant_id, run_id, step, call),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE run_files (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    path text NOT NULL,
    content bytea NOT NULL,
    size integer NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, path),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE run_events (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, seq),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE usage_records (
    tenant_id text NOT NULL,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    call integer NOT NULL,
    attempt integer NOT NULL,
    part integer NOT NULL,
    user_id text NOT NULL,
    agent_id text NOT NULL,
    model text,
    tool text,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    error_code text,
    duration_ms integer NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, run_id, step, call, attempt, part),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE TABLE approvals (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    run_id uuid NOT NULL,
    step integer NOT NULL,
    call integer NOT NULL,
    request_type text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    requester_id text NOT NULL,
    title text NOT NULL,
    payload jsonb NOT NULL,
    content_hash text NOT NULL,
    terms jsonb NOT NULL,
    status text NOT NULL,
    reason text,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, request_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs
);
CREATE INDEX approvals_pending ON approvals (tenant_id, opened_at DESC, request_id DESC) WHERE status = 'pending';
CREATE TABLE approval_decisions (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    approver_id text NOT NULL,
    verdict text NOT NULL,
    comment text NOT NULL,
    channel text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id, approver_id),
    FOREIGN KEY (tenant_id, request_id) REFERENCES approvals
);
CREATE TABLE stored_answers (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    route text NOT NULL,
    idempotency_key text NOT NULL,
    body_hash text NOT NULL,
    status integer NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, route, idempotency_key),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users
);
CREATE TABLE audit_events (
    tenant_id text NOT NULL REFERENCES tenants,
    audit_id uuid NOT NULL,
    actor_id text NOT NULL,
    on_behalf_of text,
    channel text NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    outcome text NOT NULL,
    reason text,
    request_id text,
    details jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
);
"""

# The newest first, so that a table goes before those that it refers to.
NAMES = (
    "audit_events", "stored_answers", "approval_decisions", "approvals", "usage_records", "run_events", "run_files",
    "run_results", "run_effects", "run_words", "transcript", "runs", "sessions", "users", "tenants",
)  # fmt: skip
CHANGED_IN_PLACE = frozenset({"users", "runs", "run_files", "approvals"})


def upgrade() -> None:
    """Makes the tables and isolates each."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in NAMES:
        isolate(table, *(["UPDATE"] if table in CHANGED_IN_PLACE else []))
    open_to_platform("tenants")
    open_to_platform("runs", only="status = 'queued'")


def downgrade() -> None:
    """Drops everything."""
    for table in NAMES:
        op.execute(f"DROP TABLE {table}")
