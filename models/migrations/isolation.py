"""Row-level security for a tenant's table: the one place that says how isolation is written in SQL.

Every migration that makes a table calls `isolate`, and a test meets every table of the schema.
"""

from alembic import op

APP_ROLE = "taskforce_app"
OWN_ROWS = "tenant_id = current_setting('app.tenant_id', true)"
PLATFORM = "current_setting('app.platform', true) = 'on'"


def isolate(table: str, *rights: str) -> None:
    """Forces row-level security and grants the application's role its rights.

    Args:
        table: The table's name; it has a column `tenant_id`.
        *rights: SQL privileges beyond SELECT and INSERT; none makes the table append-only for the application.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_rows ON {table} USING ({OWN_ROWS}) WITH CHECK ({OWN_ROWS})")
    op.execute(f"GRANT {', '.join(('SELECT', 'INSERT', *rights))} ON {table} TO {APP_ROLE}")


def open_to_platform(table: str, only: str = "true") -> None:
    """Lets the platform's transactions read rows of all tenants.

    Args:
        table: The table's name.
        only: SQL condition on the rows that it may read.
    """
    op.execute(f"CREATE POLICY platform_reads ON {table} FOR SELECT USING ({PLATFORM} AND ({only}))")
