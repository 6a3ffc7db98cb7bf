"""Who gave whom access: who issued a key by which key, who made an account or gave a role, and who counts as one."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE access_grants (
    tenant_id text NOT NULL REFERENCES tenants,
    grant_id uuid NOT NULL,
    user_id text NOT NULL,
    role_id text,
    given_by text NOT NULL,
    key_id uuid,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, grant_id)
)
"""
READ = ("audit_events", "api_keys", "access_grants")

# Of what was before, the log tells: by which key a key was issued, and who made a service account.
ISSUERS = """
UPDATE api_keys k SET created_by_key = e.key_id FROM audit_events e
WHERE e.tenant_id = k.tenant_id AND e.action = 'api_key.create' AND e.resource_id = k.key_id::text
  AND e.key_id IS NOT NULL
"""
MAKERS = """
INSERT INTO access_grants (tenant_id, grant_id, user_id, role_id, given_by, key_id, at)
SELECT e.tenant_id, e.audit_id, e.resource_id, NULL, e.actor_id, e.key_id, e.at FROM audit_events e
WHERE e.action = 'user.create' AND e.outcome = 'allowed'
"""


def upgrade() -> None:
    """Adds the table and the columns, and fills them with what the audit log still tells."""
    op.execute("ALTER TABLE api_keys ADD COLUMN created_by_key uuid")
    op.execute("ALTER TABLE approval_decisions ADD COLUMN party text[], ADD COLUMN sponsors text[]")
    op.execute(TABLE)
    op.execute("CREATE INDEX access_grants_of ON access_grants (tenant_id, user_id, at DESC)")
    isolate("access_grants")
    # Forced on its owner too, row-level security would hide every row.
    for table in READ:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(ISSUERS)
    op.execute(MAKERS)
    for table in READ:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Takes them back."""
    op.execute("DROP TABLE access_grants")
    op.execute("ALTER TABLE approval_decisions DROP COLUMN party, DROP COLUMN sponsors")
    op.execute("ALTER TABLE api_keys DROP COLUMN created_by_key")
