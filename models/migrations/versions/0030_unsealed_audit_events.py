"""A queue of the audit events that have no place in their chain yet, which the database keeps by itself."""

from importlib import import_module

from alembic import op

from models.migrations.isolation import APP_ROLE, OWN_ROWS, open_to_platform

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

# The order of its key is the order in which a tenant's events are sealed. It refers to no event: that key would be
# looked up for each event that retention drops.
TABLE = """
CREATE TABLE audit_unsealed (
    tenant_id text NOT NULL,
    at timestamptz NOT NULL,
    audit_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, at, audit_id)
)
"""

# The application may not change the queue: an event that is not in it would never be sealed, and no export would show
# that it is missing. Triggers see every way to the log: old workers beside the new schema, and its owner's functions.
NOTE = """
CREATE FUNCTION public.note_unsealed_audit_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_unsealed (tenant_id, at, audit_id) VALUES (NEW.tenant_id, NEW.at, NEW.audit_id);
    RETURN NULL;
END
$$
"""
# Row by row, by the whole key. A queue is long one day and empty the next, and its statistics are of another day: of a
# queue that is believed to be empty, a join reads all for each event of a batch. Plans are kept, and one that was made
# while the tables were short would read all of them: hence without sequential scans.
FORGET = """
CREATE FUNCTION public.forget_sealed_audit_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    scans CONSTANT text := current_setting('enable_seqscan');
    place record;
BEGIN
    PERFORM set_config('enable_seqscan', 'off', true);
    FOR place IN SELECT p.tenant_id, p.audit_id FROM placed p LOOP
        DELETE FROM public.audit_unsealed u
            WHERE u.tenant_id = place.tenant_id AND u.audit_id = place.audit_id AND u.at = (
                SELECT e.at FROM public.audit_events e
                WHERE e.tenant_id = place.tenant_id AND e.audit_id = place.audit_id
            );
    END LOOP;
    PERFORM set_config('enable_seqscan', scans, true);
    RETURN NULL;
END
$$
"""
FUNCTIONS = {"public.note_unsealed_audit_event()": NOTE, "public.forget_sealed_audit_events()": FORGET}
ON_EVENT = """
CREATE TRIGGER note_unsealed AFTER INSERT ON audit_events
FOR EACH ROW EXECUTE FUNCTION public.note_unsealed_audit_event()
"""
ON_SEAL = """
CREATE TRIGGER forget_sealed AFTER INSERT ON audit_chain REFERENCING NEW TABLE AS placed
FOR EACH STATEMENT EXECUTE FUNCTION public.forget_sealed_audit_events()
"""

# Forced on its owner too, row-level security hides every row but one tenant's, and to lift it would stop all readers.
FILL = """
DO $$
DECLARE
    tenant text;
BEGIN
    PERFORM set_config('app.platform', 'on', true);
    FOR tenant IN SELECT t.tenant_id FROM public.tenants t LOOP
        PERFORM set_config('app.tenant_id', tenant, true);
        EXECUTE 'INSERT INTO public.audit_unsealed (tenant_id, at, audit_id) '
            'SELECT e.tenant_id, e.at, e.audit_id FROM public.audit_events e '
            'WHERE e.tenant_id = $1 AND e.at >= {since} AND NOT EXISTS ('
            'SELECT FROM public.audit_chain c WHERE c.tenant_id = e.tenant_id AND c.audit_id = e.audit_id) '
            'ON CONFLICT DO NOTHING' USING tenant;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true), set_config('app.platform', '', true);
END
$$
"""
EVER = "''-infinity''::timestamptz"
MEANWHILE = "now() - interval ''1 hour''"

# The log of a tenant goes with its queue, and whether it is sealed is asked of the queue: not of the whole log, each
# time that its erasing begins. Derived from the function of 0004, whose text is as it was.
ERASE = import_module("models.migrations.versions.0004_tenant_deletion").ERASE
CHANGES = {
    "CREATE FUNCTION": "CREATE OR REPLACE FUNCTION",
    "'audit_events', 'tenants']": "'audit_events', 'audit_unsealed', 'tenants']",
    "SELECT FROM public.audit_events e WHERE e.tenant_id = of_tenant AND NOT EXISTS (": (
        "SELECT FROM public.audit_unsealed u JOIN public.audit_events e USING (tenant_id, audit_id)\n"
        "            WHERE u.tenant_id = of_tenant AND NOT EXISTS ("
    ),
}


def upgrade() -> None:
    """Makes the queue, fills it with what is unsealed, and has the database keep it.

    The long look at the whole log holds up sealing, not what is appended. Then appending is held up for a short one, at
    what was appended meanwhile; an event is committed within the hour of its time.
    """
    op.execute(TABLE)
    for statement in ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY"):
        op.execute(f"ALTER TABLE audit_unsealed {statement}")
    op.execute(f"CREATE POLICY own_rows ON audit_unsealed USING ({OWN_ROWS}) WITH CHECK ({OWN_ROWS})")
    op.execute(f"GRANT SELECT ON audit_unsealed TO {APP_ROLE}")
    open_to_platform("audit_unsealed")
    for name, function in FUNCTIONS.items():
        op.execute(function)
        # Not for the application either: a trigger fires without that right, and with it a temporary table of the
        # application's own could have the queue forget an event.
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    op.execute(ON_SEAL)
    op.execute(FILL.format(since=EVER))
    op.execute(ON_EVENT)
    op.execute(FILL.format(since=MEANWHILE))
    op.execute(_changed(ERASE, CHANGES))


def downgrade() -> None:
    """Takes it back; workers look at the whole log again."""
    op.execute(_changed(ERASE, {"CREATE FUNCTION": "CREATE OR REPLACE FUNCTION"}))
    op.execute("DROP TRIGGER note_unsealed ON audit_events")
    op.execute("DROP TRIGGER forget_sealed ON audit_chain")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP TABLE audit_unsealed")


def _changed(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        if text.count(before) != 1:
            raise ValueError(f"There is not one {before!r} in the function of 0004.")
        text = text.replace(before, after)
    return text
