"""Retention of what hangs on no run: answers to idempotency keys, deliveries, requests for approval, usage."""

from alembic import op

from models.migrations.indexes import build_index, drop_index
from models.migrations.isolation import APP_ROLE

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

INDEXES = {
    "stored_answers_by_age": "stored_answers (tenant_id, at)",
    "webhook_deliveries_ended": (
        "webhook_deliveries (tenant_id, finished_at, delivery_id) WHERE finished_at IS NOT NULL"
    ),
    "approvals_closed": ("approvals (tenant_id, closed_at, request_id) WHERE closed_at IS NOT NULL AND run_id IS NULL"),
    "usage_records_by_age": "usage_records (tenant_id, at)",
}

# As for runs (0005): the application may delete nothing of these; this runs with its owner's rights instead, and so
# does as little as it can. It serves the tenant of the transaction only, for row-level security is forced on the owner
# too. Whatever it is asked, it keeps what the tenant's own setting keeps (an hour is left for clocks that differ), and
# all of a tenant without one. When a delivery or a request has ended it does not believe its row alone, which the
# application may change: one with a young attempt or a young entry of its history stays, and both are append-only.
# Usage of a run that is open stays, as the run's totals are added up from it.
FUNCTION = """
CREATE FUNCTION public.erase_expired_records(kind text, ended_before timestamptz, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    latest timestamptz;
    old uuid[];
    gone bigint := 0;
BEGIN
    SELECT least(
            ended_before, now() - make_interval(hours => 24 * (t.settings ->> (kind || '_retention_days'))::integer - 1)
        ) INTO latest
        FROM public.tenants t WHERE t.tenant_id = tenant AND t.settings ? (kind || '_retention_days');
    IF latest IS NULL OR ended_before IS NULL
        OR NOT pg_try_advisory_xact_lock(hashtextextended('retention:' || kind || ':' || tenant, 0)) THEN
        RETURN 0;
    END IF;
    PERFORM set_config(name, 'off', true) FROM unnest(ARRAY[
        'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_sort'
    ]) name;
    IF kind = 'answer' THEN
        DELETE FROM public.stored_answers s WHERE s.tenant_id = tenant AND s.ctid = ANY (ARRAY(
            SELECT o.ctid FROM public.stored_answers o
            WHERE o.tenant_id = tenant AND o.at < latest ORDER BY o.at LIMIT most
        ));
    ELSIF kind = 'usage' THEN
        DELETE FROM public.usage_records u WHERE u.tenant_id = tenant AND u.ctid = ANY (ARRAY(
            SELECT o.ctid FROM public.usage_records o
            WHERE o.tenant_id = tenant AND o.at < latest AND NOT EXISTS (
                SELECT FROM public.runs r
                WHERE r.tenant_id = tenant AND r.run_id = o.run_id AND r.finished_at IS NULL
            )
            ORDER BY o.at LIMIT most
        ));
    ELSIF kind = 'delivery' THEN
        old := ARRAY(
            SELECT d.delivery_id FROM public.webhook_deliveries d
            WHERE d.tenant_id = tenant AND d.finished_at < latest AND d.status IN ('delivered', 'failed', 'stopped')
                AND NOT EXISTS (
                    SELECT FROM public.webhook_attempts a
                    WHERE a.tenant_id = tenant AND a.delivery_id = d.delivery_id AND a.at >= latest
                )
            ORDER BY d.finished_at, d.delivery_id LIMIT most FOR UPDATE SKIP LOCKED
        );
        DELETE FROM public.webhook_attempts a WHERE a.tenant_id = tenant AND a.delivery_id = ANY (old);
        DELETE FROM public.webhook_deliveries d WHERE d.tenant_id = tenant AND d.delivery_id = ANY (old);
    ELSIF kind = 'request' THEN
        old := ARRAY(
            SELECT q.request_id FROM public.approvals q
            WHERE q.tenant_id = tenant AND q.closed_at < latest AND q.run_id IS NULL AND q.status <> 'pending'
                AND NOT EXISTS (
                    SELECT FROM public.approval_happenings h
                    WHERE h.tenant_id = tenant AND h.request_id = q.request_id AND h.at >= latest
                )
            ORDER BY q.closed_at, q.request_id LIMIT most FOR UPDATE SKIP LOCKED
        );
        DELETE FROM public.approval_decisions d WHERE d.tenant_id = tenant AND d.request_id = ANY (old);
        DELETE FROM public.approvals q WHERE q.tenant_id = tenant AND q.request_id = ANY (old);
    END IF;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$
"""
NAME = "public.erase_expired_records(text, timestamptz, integer)"


def upgrade() -> None:
    """Makes the function, for the application alone, and the indexes."""
    for name, on in INDEXES.items():
        build_index(name, on)
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {NAME} TO {APP_ROLE}")


def downgrade() -> None:
    """Takes them back."""
    for name in INDEXES:
        drop_index(name)
    op.execute(f"DROP FUNCTION {NAME}")
