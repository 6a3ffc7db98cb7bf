"""Deleting a tenant: what remembers it, and the one way in which its rows go."""

from alembic import op

from models.migrations.isolation import APP_ROLE, isolate, open_to_platform

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE tenants ADD COLUMN runs_until timestamptz;
CREATE TABLE tenant_deletions (
    tenant_id text NOT NULL REFERENCES tenants,
    deleted_id text NOT NULL,
    requested_by text NOT NULL,
    request_id text,
    requested_at timestamptz NOT NULL,
    begun_at timestamptz NOT NULL,
    runs_until timestamptz,
    erased jsonb NOT NULL,
    log_seq bigint,
    log_hash text,
    erased_at timestamptz,
    PRIMARY KEY (tenant_id, deleted_id)
);
CREATE INDEX tenant_deletions_by_deleted ON tenant_deletions (deleted_id);
CREATE TABLE tenant_deletion_phases (
    tenant_id text NOT NULL,
    deleted_id text NOT NULL,
    phase text NOT NULL,
    facts jsonb NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, deleted_id, phase),
    FOREIGN KEY (tenant_id, deleted_id) REFERENCES tenant_deletions
);
"""

# As for retention (0003), what was done in the last 23 hours cannot be made to vanish with the application's role. The
# owner may replace this function by one that says otherwise; no migration will make it anew.
GRACE = """
CREATE FUNCTION public.tenant_log_grace() RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '23 hours' $$
"""

# The application may write no tombstone and change none: its time is the database's, and it stays. It is written in the
# transaction of the tenant that keeps it, together with the status of the one that is to go.
BEGIN = """
CREATE FUNCTION public.begin_tenant_deletion(
    of_tenant text, by_user text, by_request text, asked timestamptz, until timestamptz
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home CONSTANT text := current_setting('app.tenant_id', true);
    outcome text := 'begun';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('deletion:' || of_tenant, 0));
    IF EXISTS (SELECT FROM public.tenant_deletions d WHERE d.tenant_id = home AND d.deleted_id = of_tenant) THEN
        RETURN 'known';
    END IF;
    PERFORM set_config('app.tenant_id', of_tenant, true);
    IF of_tenant = home OR EXISTS (SELECT FROM public.tenant_deletions d WHERE d.tenant_id = of_tenant) THEN
        outcome := 'keeps_reports';
    ELSE
        -- Runs of a tenant that was switched off do not come back to life.
        UPDATE public.tenants t SET status = 'deleting', updated_at = asked,
            runs_until = CASE WHEN t.status = 'active' THEN until END
            WHERE t.tenant_id = of_tenant;
        outcome := CASE WHEN FOUND THEN 'begun' ELSE 'missing' END;
    END IF;
    PERFORM set_config('app.tenant_id', home, true);
    IF outcome = 'begun' THEN
        INSERT INTO public.tenant_deletions
            (tenant_id, deleted_id, requested_by, request_id, requested_at, begun_at, runs_until, erased)
            VALUES (home, of_tenant, by_user, by_request, asked, now(), until, '{}');
    END IF;
    RETURN outcome;
END
$$
"""
BEGIN_NAME = "public.begin_tenant_deletion(text, text, text, timestamptz, timestamptz)"

# Each call erases one batch of one table, and says nothing when nothing may go now. Tables are found by the catalogue,
# so that a new one cannot be forgotten. One goes when those that refer to it are empty, and one that refers to itself
# in one piece. It serves a tenant that has a tombstone, and whose row says that it is being deleted. The log goes
# last, when its time is over, and not before its end stands in the tombstone.
ERASE = """
CREATE FUNCTION public.erase_tenant_rows(of_tenant text, most integer, OUT source text, OUT gone bigint)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    home CONSTANT text := current_setting('app.tenant_id', true);
    last CONSTANT text[] := ARRAY['audit_anchors', 'audit_chain', 'audit_events', 'tenants'];
    stone public.tenant_deletions;
    held text[] := '{}';
    holds boolean;
    its_time boolean;
    place record;
BEGIN
    SELECT d.* INTO stone FROM public.tenant_deletions d
        WHERE d.tenant_id = home AND d.deleted_id = of_tenant FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'nobody has asked for this tenant to be deleted';
    END IF;
    PERFORM set_config('app.tenant_id', of_tenant, true);
    IF EXISTS (SELECT FROM public.tenants t WHERE t.tenant_id = of_tenant AND t.status <> 'deleting') THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'this tenant is not being deleted';
    END IF;
    FOR source IN
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I t WHERE t.tenant_id = $1)', source)
            INTO holds USING of_tenant;
        held := CASE WHEN holds THEN held || source ELSE held END;
    END LOOP;
    IF 'tenant_deletions' = ANY (held) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'this tenant keeps the reports of others';
    END IF;
    its_time := held <@ last AND now() >= stone.begun_at + public.tenant_log_grace();
    SELECT h INTO source FROM unnest(held) h
        WHERE (h <> ALL (last) OR its_time) AND (h <> 'tenants' OR cardinality(held) = 1) AND NOT EXISTS (
            SELECT FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND c.relname = ANY (held)
            AND k.confrelid = format('public.%I', h)::regclass
        )
        ORDER BY h LIMIT 1;
    IF source IS NULL AND cardinality(held) > 0 AND (its_time OR NOT held <@ last) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'these tables refer to one another: ' || held::text;
    END IF;
    IF source = ANY (last) AND stone.log_seq IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('audit:' || of_tenant, 0));
        IF EXISTS (
            SELECT FROM public.audit_events e WHERE e.tenant_id = of_tenant AND NOT EXISTS (
                SELECT FROM public.audit_chain c WHERE c.tenant_id = of_tenant AND c.audit_id = e.audit_id
            )
        ) THEN
            RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'the log must be sealed first';
        END IF;
        SELECT p.seq, p.hash INTO place FROM (
            SELECT c.seq, c.hash FROM public.audit_chain c WHERE c.tenant_id = of_tenant
            UNION ALL SELECT a.seq, a.hash FROM public.audit_anchors a WHERE a.tenant_id = of_tenant
        ) p ORDER BY p.seq DESC LIMIT 1;
        stone.log_seq := coalesce(place.seq, 0);
        stone.log_hash := place.hash;
    END IF;
    IF source IS NOT NULL THEN
        IF EXISTS (
            SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = k.confrelid
            AND k.conrelid = format('public.%I', source)::regclass
        ) THEN
            EXECUTE format('DELETE FROM public.%I t WHERE t.tenant_id = $1', source) USING of_tenant;
        ELSE
            EXECUTE format(
                'DELETE FROM public.%1$I t WHERE t.tenant_id = $1 AND t.ctid = ANY (ARRAY('
                'SELECT o.ctid FROM public.%1$I o WHERE o.tenant_id = $1 LIMIT $2))', source
            ) USING of_tenant, greatest(1, least(most, 10000));
        END IF;
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    PERFORM set_config('app.tenant_id', home, true);
    IF source IS NOT NULL THEN
        UPDATE public.tenant_deletions d SET
            erased = d.erased || jsonb_build_object(source, coalesce((d.erased ->> source)::bigint, 0) + gone),
            log_seq = stone.log_seq,
            log_hash = stone.log_hash,
            erased_at = CASE WHEN source = 'tenants' THEN now() ELSE d.erased_at END
            WHERE d.tenant_id = home AND d.deleted_id = of_tenant;
        RETURN NEXT;
    END IF;
END
$$
"""
ERASE_NAME = "public.erase_tenant_rows(text, integer)"


def upgrade() -> None:
    """Makes the tables and the functions; tombstones are written by nobody else."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in ("tenant_deletions", "tenant_deletion_phases"):
        isolate(table)
        open_to_platform(table)
    op.execute(f"REVOKE INSERT ON tenant_deletions FROM {APP_ROLE}")
    op.execute(GRACE)
    for function, name in ((BEGIN, BEGIN_NAME), (ERASE, ERASE_NAME)):
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {APP_ROLE}")


def downgrade() -> None:
    """Takes back what was added."""
    for name in (ERASE_NAME, BEGIN_NAME, "public.tenant_log_grace()"):
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP TABLE tenant_deletion_phases")
    op.execute("DROP TABLE tenant_deletions")
    op.execute("ALTER TABLE tenants DROP COLUMN runs_until")
