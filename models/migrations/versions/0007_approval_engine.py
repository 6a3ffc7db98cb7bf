"""Requests that no run waits for, edits, who may decide now, what has happened, and who stands for whom."""

from alembic import op

from models.migrations.isolation import isolate, open_to_platform

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# What hangs on a request goes with it, by retention or with its tenant; the application deletes no request.
UNSTARTED = "status = 'pending' AND started_at IS NULL"
CHANGES = """
ALTER TABLE approvals
    ALTER COLUMN run_id DROP NOT NULL,
    ADD COLUMN definition_id text,
    ADD COLUMN description text NOT NULL DEFAULT '',
    ADD COLUMN current_hash text,
    ADD COLUMN edited jsonb,
    ADD COLUMN for_run boolean NOT NULL DEFAULT false,
    ADD COLUMN roles text[],
    ADD COLUMN people text[] NOT NULL DEFAULT '{}',
    ADD COLUMN acted integer NOT NULL DEFAULT 0,
    ADD COLUMN started_at timestamptz;
UPDATE approvals SET
    started_at = opened_at,
    current_hash = content_hash,
    roles = ARRAY(SELECT jsonb_array_elements_text(terms -> 'allowed_roles'));
ALTER TABLE approvals ALTER COLUMN current_hash SET NOT NULL, ALTER COLUMN roles SET NOT NULL;
CREATE INDEX approvals_opened ON approvals (tenant_id, opened_at DESC, request_id DESC);
CREATE INDEX approvals_unstarted ON approvals (opened_at) WHERE status = 'pending' AND started_at IS NULL;
CREATE INDEX approvals_for_run ON approvals (tenant_id, run_id) WHERE for_run;
ALTER TABLE approval_decisions ADD COLUMN on_behalf_of text, ADD COLUMN content_hash text;
UPDATE approval_decisions d SET content_hash = a.content_hash
    FROM approvals a WHERE a.tenant_id = d.tenant_id AND a.request_id = d.request_id;
ALTER TABLE approval_decisions
    ALTER COLUMN content_hash SET NOT NULL,
    DROP CONSTRAINT approval_decisions_pkey,
    ADD PRIMARY KEY (tenant_id, request_id, approver_id, content_hash);
CREATE TABLE approval_edits (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    content_hash text NOT NULL,
    author_id text NOT NULL,
    payload jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id, content_hash),
    FOREIGN KEY (tenant_id, request_id) REFERENCES approvals ON DELETE CASCADE
);
CREATE TABLE approval_happenings (
    tenant_id text NOT NULL,
    request_id uuid NOT NULL,
    happening text NOT NULL,
    kind text NOT NULL,
    actor_id text NOT NULL,
    comment text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id, happening),
    FOREIGN KEY (tenant_id, request_id) REFERENCES approvals ON DELETE CASCADE
);
CREATE TABLE approval_delegations (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    delegate_id text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users,
    FOREIGN KEY (tenant_id, delegate_id) REFERENCES users
);
CREATE INDEX approval_delegations_to ON approval_delegations (tenant_id, delegate_id)
"""
BACK = """
DROP TABLE approval_delegations;
DROP TABLE approval_happenings;
DROP TABLE approval_edits;
DELETE FROM approval_decisions d USING approval_decisions later
    WHERE later.tenant_id = d.tenant_id AND later.request_id = d.request_id
    AND later.approver_id = d.approver_id AND later.at > d.at;
ALTER TABLE approval_decisions
    DROP CONSTRAINT approval_decisions_pkey,
    ADD PRIMARY KEY (tenant_id, request_id, approver_id),
    DROP COLUMN content_hash, DROP COLUMN on_behalf_of;
DROP INDEX approvals_for_run;
DROP INDEX approvals_unstarted;
DROP POLICY platform_reads ON approvals;
DROP INDEX approvals_opened;
DELETE FROM approval_decisions WHERE (tenant_id, request_id) IN (
    SELECT tenant_id, request_id FROM approvals WHERE run_id IS NULL
);
DELETE FROM approvals WHERE run_id IS NULL;
ALTER TABLE approvals
    ALTER COLUMN run_id SET NOT NULL,
    DROP COLUMN started_at, DROP COLUMN acted, DROP COLUMN people, DROP COLUMN roles, DROP COLUMN for_run,
    DROP COLUMN edited,    DROP COLUMN current_hash, DROP COLUMN description, DROP COLUMN definition_id
"""


def upgrade() -> None:
    """Widens requests and decisions; what was asked before keeps its meaning."""
    # Row-level security is forced on the owner too, and a migration changes the rows of all tenants.
    for table in ("approvals", "approval_decisions"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    _all(CHANGES)
    for table in ("approvals", "approval_decisions"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    open_to_platform("approvals", only=UNSTARTED)
    isolate("approval_edits")
    isolate("approval_happenings")
    isolate("approval_delegations", "UPDATE", "DELETE")


def downgrade() -> None:
    """Restores requests of runs; later decisions on edited content, and requests without a run, are lost."""
    for table in ("approvals", "approval_decisions"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    _all(BACK)
    for table in ("approvals", "approval_decisions"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def _all(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
