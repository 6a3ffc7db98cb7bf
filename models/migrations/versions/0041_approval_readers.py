"""Whom a request for approval concerns, by an index: the lists of those who may not see all of them."""

import sqlalchemy as sa
from alembic import op

from models.migrations.indexes import patient
from models.migrations.isolation import APP_ROLE, OWN_ROWS

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

# Row-level security keeps the operators of arrays, which are not leakproof, out of an index's condition: the requests
# that a role may decide were found by reading all. The status precedes the time, as in the indexes of lists (0031).
TABLE = """
CREATE TABLE approval_readers (
    tenant_id text NOT NULL,
    reader text NOT NULL,
    status text NOT NULL,
    opened_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    request_type text NOT NULL,
    requester_id text NOT NULL,
    PRIMARY KEY (tenant_id, reader, status, opened_at, request_id)
)
"""
INDEXES = {
    "approval_readers_of_type": "request_type, status, opened_at, request_id",
    "approval_readers_of_requester": "requester_id, status, opened_at, request_id",
}
COLUMNS = "tenant_id, reader, status, opened_at, request_id, request_type, requester_id"


def _readers(of: str) -> str:
    return f"""
            SELECT {of}.tenant_id, r.reader, {of}.status, {of}.opened_at, {of}.request_id, {of}.request_type,
                {of}.requester_id
            FROM (
                SELECT 'requester:' || {of}.requester_id AS reader
                UNION SELECT 'user:' || person FROM unnest({of}.people) person
                UNION SELECT 'role:' || role FROM unnest({of}.roles) role
            ) r"""


# A trigger sees every way to a request: workers of before beside the new schema, and the owner's functions that erase.
# It is found by the whole key; without sequential scans, for a plan that was made while the table was short is kept.
KEEP = f"""
CREATE FUNCTION public.keep_approval_readers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.status, OLD.roles, OLD.people) IS NOT DISTINCT FROM (NEW.status, NEW.roles, NEW.people)
    THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM public.approval_readers k
            WHERE ({", ".join(f"k.{column}" for column in COLUMNS.split(", "))}) IN ({_readers("OLD")});
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO public.approval_readers ({COLUMNS}){_readers("NEW")}
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$
"""
KEEP_NAME = "public.keep_approval_readers()"
TRIGGER = """
CREATE TRIGGER keep_readers AFTER INSERT OR DELETE OR UPDATE OF status, roles, people ON approvals
FOR EACH ROW EXECUTE FUNCTION public.keep_approval_readers()
"""

# Tenant by tenant, for row-level security is forced on the owner too; each step is committed. Requests are locked
# before they are put in: who changes or erases one waits, and its trigger comes after; what is being erased is waited
# for. Open ones come by themselves, for people decide them; a closed one is only erased.
FILL = f"""
DO $$
DECLARE
    tenant text := '';
BEGIN
    LOOP
        PERFORM set_config('app.platform', 'on', true);
        SELECT min(t.tenant_id) INTO tenant FROM public.tenants t WHERE t.tenant_id > tenant;
        EXIT WHEN tenant IS NULL;
        PERFORM set_config('app.tenant_id', tenant, true);
        WITH q AS (SELECT a.* FROM public.approvals a WHERE a.tenant_id = tenant AND a.status = 'pending' FOR SHARE)
        INSERT INTO public.approval_readers ({COLUMNS})
            SELECT k.* FROM q, LATERAL ({_readers("q")}) k ON CONFLICT DO NOTHING;
        COMMIT;
        PERFORM set_config('app.tenant_id', tenant, true);
        WITH q AS (
            SELECT a.* FROM public.approvals a WHERE a.tenant_id = tenant AND a.status <> 'pending' FOR KEY SHARE
        )
        INSERT INTO public.approval_readers ({COLUMNS})
            SELECT k.* FROM q, LATERAL ({_readers("q")}) k ON CONFLICT DO NOTHING;
        COMMIT;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Makes the table, has the database keep it, and fills it with the requests of before; safe to repeat."""
    # It is committed before it is filled. Of a migration that was broken off there is all of it, or nothing.
    if op.get_bind().execute(sa.text("SELECT to_regclass('public.approval_readers')")).scalar() is None:
        op.execute(TABLE)
        for name, columns in INDEXES.items():
            op.execute(f"CREATE INDEX {name} ON approval_readers (tenant_id, reader, {columns})")
        for statement in ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY"):
            op.execute(f"ALTER TABLE approval_readers {statement}")
        op.execute(f"CREATE POLICY own_rows ON approval_readers USING ({OWN_ROWS}) WITH CHECK ({OWN_ROWS})")
        op.execute(f"GRANT SELECT ON approval_readers TO {APP_ROLE}")
        op.execute(KEEP)
        op.execute(f"REVOKE ALL ON FUNCTION {KEEP_NAME} FROM PUBLIC")
        op.execute(TRIGGER)
    with patient():
        op.execute(FILL)


def downgrade() -> None:
    """Takes it back; the lists of those who may not see all read all again."""
    op.execute("DROP TRIGGER keep_readers ON approvals")
    op.execute(f"DROP FUNCTION {KEEP_NAME}")
    op.execute("DROP TABLE approval_readers")
