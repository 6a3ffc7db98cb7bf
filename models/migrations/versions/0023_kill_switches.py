"""Kill switches: what is halted, by whom and why. Every tenant reads that of the installation."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE kill_switches (
    tenant_id text NOT NULL REFERENCES tenants,
    scope text NOT NULL CHECK (scope IN ('installation', 'tenant_by_operator', 'tenant', 'agent')),
    agent_id text NOT NULL CHECK ((agent_id <> '') = (scope = 'agent')),
    reason text NOT NULL,
    pulled_by text NOT NULL,
    pulled_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, scope, agent_id)
)
"""


def upgrade() -> None:
    """Adds the table."""
    op.execute(TABLE)
    op.execute("CREATE INDEX kill_switches_of_all ON kill_switches (scope) WHERE scope = 'installation'")
    isolate("kill_switches", "DELETE")
    op.execute("CREATE POLICY all_read_installation ON kill_switches FOR SELECT USING (scope = 'installation')")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE kill_switches")
