"""Retention of the audit log: the one way in which its oldest events go, and their anchor stays."""

from alembic import op

from models.migrations.isolation import APP_ROLE

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The application may delete nothing of the log; this runs with its owner's rights instead, and so does as little as it
# can. It serves the tenant of the transaction only, for row-level security is forced on the owner too. It finds the
# end of what is old enough by itself, takes a beginning of the chain only, and whatever it is asked, leaves the events
# of the last 23 hours: who has stolen the application's role cannot use it to hide what was just done. Times are looked
# up event by event, from the oldest on: as a join, all young events could be gone through for each old one.
FUNCTION = """
CREATE FUNCTION public.drop_sealed_audit_events(older_than timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    latest CONSTANT timestamptz := least(older_than, now() - interval '23 hours');
    furthest bigint;
    kept bigint;
    place record;
    gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit:' || tenant, 0));
    SELECT min(c.seq) - 1 + most INTO furthest FROM public.audit_chain c WHERE c.tenant_id = tenant;
    SELECT c.seq INTO kept
        FROM public.audit_chain c
        WHERE c.tenant_id = tenant AND c.seq <= furthest AND latest <= (
            SELECT e.at FROM public.audit_events e WHERE e.tenant_id = tenant AND e.audit_id = c.audit_id
        )
        ORDER BY c.seq LIMIT 1;
    SELECT c.seq, c.hash INTO place
        FROM public.audit_chain c
        WHERE c.tenant_id = tenant AND c.seq <= coalesce(kept - 1, furthest)
        ORDER BY c.seq DESC LIMIT 1;
    IF NOT FOUND OR older_than IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO public.audit_anchors (tenant_id, seq, hash, at) VALUES (tenant, place.seq, place.hash, now());
    WITH dropped AS (
        DELETE FROM public.audit_chain c WHERE c.tenant_id = tenant AND c.seq <= place.seq RETURNING c.audit_id
    )
    DELETE FROM public.audit_events e USING dropped WHERE e.tenant_id = tenant AND e.audit_id = dropped.audit_id;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$
"""
NAME = "public.drop_sealed_audit_events(timestamptz, integer)"


def upgrade() -> None:
    """Makes the function, for the application alone; anchors are written by nobody else."""
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {NAME} TO {APP_ROLE}")
    op.execute(f"REVOKE INSERT ON audit_anchors FROM {APP_ROLE}")


def downgrade() -> None:
    """Takes it back."""
    op.execute(f"GRANT INSERT ON audit_anchors TO {APP_ROLE}")
    op.execute(f"DROP FUNCTION {NAME}")
