"""A queue of the audit events that have no place in their chain yet, which the database keeps by itself."""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

from models.migrations.indexes import patient
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

# Tenant by tenant, for row-level security is forced on the owner too, and to lift it would stop all readers; each is
# committed. The look at a whole log waits for nobody and holds up nobody. What is sealed while it lasts was not in the
# queue yet when it was to be forgotten; so it is taken out afterwards, while the tenant's sealer waits: a look at the
# queue alone. What retention or the tenant's deletion has erased meanwhile goes likewise.
FILL = """
DO $$
DECLARE
    tenant text := '';
BEGIN
    LOOP
        PERFORM set_config('app.platform', 'on', true);
        SELECT min(t.tenant_id) INTO tenant FROM public.tenants t WHERE t.tenant_id > tenant;
        EXIT WHEN tenant IS NULL;
        PERFORM set_config('app.tenant_id', tenant, true);
        INSERT INTO public.audit_unsealed (tenant_id, at, audit_id)
            SELECT e.tenant_id, e.at, e.audit_id FROM public.audit_events e
            WHERE e.tenant_id = tenant AND NOT EXISTS (
                SELECT FROM public.audit_chain c WHERE c.tenant_id = tenant AND c.audit_id = e.audit_id
            )
            ON CONFLICT DO NOTHING;
        COMMIT;
        PERFORM set_config('app.tenant_id', tenant, true);
        PERFORM pg_advisory_xact_lock(hashtextextended('audit:' || tenant, 0));
        DELETE FROM public.audit_unsealed u WHERE u.tenant_id = tenant AND NOT EXISTS (
            SELECT FROM public.audit_events e
            WHERE e.tenant_id = tenant AND e.audit_id = u.audit_id AND NOT EXISTS (
                SELECT FROM public.audit_chain c WHERE c.tenant_id = tenant AND c.audit_id = e.audit_id
            )
        );
        COMMIT;
    END LOOP;
END
$$
"""

# The log of a tenant goes with its queue, as soon as there is one. Once the queue is whole, whether the log is sealed
# is asked of it, and not of the whole log each time that the erasing begins. Derived from the function of 0004, whose
# text is as it was.
ERASE = import_module("models.migrations.versions.0004_tenant_deletion").ERASE
REPLACED = {"CREATE FUNCTION": "CREATE OR REPLACE FUNCTION"}
WITH_QUEUE = REPLACED | {"'audit_events', 'tenants']": "'audit_events', 'audit_unsealed', 'tenants']"}
BY_QUEUE = WITH_QUEUE | {
    "SELECT FROM public.audit_events e WHERE e.tenant_id = of_tenant AND NOT EXISTS (": (
        "SELECT FROM public.audit_unsealed u JOIN public.audit_events e USING (tenant_id, audit_id)\n"
        "            WHERE u.tenant_id = of_tenant AND NOT EXISTS ("
    ),
}


def upgrade() -> None:
    """Makes the queue, has the database keep it, and then fills it with what was unsealed before; safe to repeat."""
    # It is committed before the queue is filled. Of a migration that was broken off there is all of it, or nothing.
    if op.get_bind().execute(sa.text("SELECT to_regclass('public.audit_unsealed')")).scalar() is None:
        _make_queue()
    with patient():
        op.execute(FILL)
    op.execute(_changed(ERASE, BY_QUEUE))


def downgrade() -> None:
    """Takes it back; workers look at the whole log again."""
    op.execute(_changed(ERASE, REPLACED))
    op.execute("DROP TRIGGER note_unsealed ON audit_events")
    op.execute("DROP TRIGGER forget_sealed ON audit_chain")
    for name in FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP TABLE audit_unsealed")


def _make_queue() -> None:
    """Makes the queue and what keeps it, which notes all that is appended and sealed from then on.

    Both logs are locked for a moment, which waits for the transactions that write to them: what those append is seen by
    the look at the whole log.
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
    op.execute(_changed(ERASE, WITH_QUEUE))
    op.execute(ON_SEAL)
    op.execute(ON_EVENT)


def _changed(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        if text.count(before) != 1:
            raise ValueError(f"There is not one {before!r} in the function of 0004.")
        text = text.replace(before, after)
    return text
