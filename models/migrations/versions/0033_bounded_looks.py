"""Looks that read no more than they find: expired rows of all tenants, and the latest entries of a transcript."""

from alembic import op

from models.migrations.indexes import build_index, drop_index
from models.migrations.isolation import APP_ROLE

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# Word for word as in `repositories/transcripts.py`. Partial and literal: row-level security keeps `->>`, which is not
# leakproof, out of an index's condition; and a run has few plans, and may have few replies with a text.
INDEXES = {
    "transcript_texts": "transcript (tenant_id, run_id, step, call) WHERE kind = 'reply' AND text <> ''",
    "transcript_plans": (
        "transcript (tenant_id, run_id, step, call) WHERE kind = 'observation' AND (data ->> 'tool') = 'todo_write' "
        "AND (data ->> 'status') = 'succeeded'"
    ),
}

# A hint for sweeps, which tells ids only: whether a row may go is decided in a transaction of its tenant (0003, 0005,
# 0028). It runs with its owner's rights, for the platform's transactions may not read these rows, and it serves those
# alone. Row-level security is forced on the owner too, so it looks tenant by tenant, one step by an index for each.
# What is kept by a setting of its tenant is skipped where there is none; the rest comes with its time.
FUNCTION = """
CREATE FUNCTION public.tenants_with_expired_rows(kind text, at timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before CONSTANT text := current_setting('app.tenant_id', true);
    setting CONSTANT text := CASE kind WHEN 'run' THEN 'data' ELSE kind END || '_retention_days';
    tenant text;
    days integer;
    latest timestamptz;
    expired boolean;
BEGIN
    IF current_setting('app.platform', true) IS DISTINCT FROM 'on' THEN
        RETURN;
    END IF;
    PERFORM set_config(name, 'off', true) FROM unnest(ARRAY[
        'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_sort'
    ]) name;
    FOR tenant, days IN
        SELECT t.tenant_id, (t.settings ->> setting)::integer FROM public.tenants t
        WHERE kind IN ('audit', 'result') OR t.settings ? setting
    LOOP
        PERFORM set_config('app.tenant_id', tenant, true);
        latest := CASE WHEN kind IN ('audit', 'result') THEN at ELSE at - make_interval(hours => 24 * days) END;
        IF kind = 'audit' THEN
            SELECT (
                SELECT e.at < latest FROM public.audit_events e WHERE e.tenant_id = tenant AND e.audit_id = c.audit_id
            ) INTO expired FROM public.audit_chain c WHERE c.tenant_id = tenant ORDER BY c.seq LIMIT 1;
        ELSIF kind = 'result' THEN
            expired := EXISTS (
                SELECT FROM public.request_results r WHERE r.tenant_id = tenant AND r.kept_until <= latest
            );
        ELSIF kind = 'run' THEN
            expired := EXISTS (SELECT FROM public.runs r WHERE r.tenant_id = tenant AND r.finished_at < latest);
        ELSIF kind = 'answer' THEN
            expired := EXISTS (SELECT FROM public.stored_answers s WHERE s.tenant_id = tenant AND s.at < latest);
        ELSIF kind = 'usage' THEN
            expired := EXISTS (SELECT FROM public.usage_records u WHERE u.tenant_id = tenant AND u.at < latest);
        ELSIF kind = 'delivery' THEN
            expired := EXISTS (
                SELECT FROM public.webhook_deliveries d WHERE d.tenant_id = tenant AND d.finished_at < latest
            );
        ELSIF kind = 'request' THEN
            expired := EXISTS (
                SELECT FROM public.approvals q
                WHERE q.tenant_id = tenant AND q.closed_at < latest AND q.run_id IS NULL
            );
        END IF;
        IF expired THEN
            RETURN NEXT tenant;
        END IF;
    END LOOP;
    PERFORM set_config('app.tenant_id', before, true);
END
$$
"""
NAME = "public.tenants_with_expired_rows(text, timestamptz)"


def upgrade() -> None:
    """Builds the indexes, and makes the function, for the application alone."""
    for name, on in INDEXES.items():
        build_index(name, on)
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {NAME} TO {APP_ROLE}")


def downgrade() -> None:
    """Takes them back."""
    op.execute(f"DROP FUNCTION {NAME}")
    for name in INDEXES:
        drop_index(name)
