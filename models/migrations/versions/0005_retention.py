"""Retention of runs: the one way in which old ones go, and indexes for what is looked for."""

from alembic import op

from models.migrations.isolation import APP_ROLE

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Usage is kept when its run is erased: it holds ids and numbers, and somebody pays for it. The log's indexes find what
# is rare among 200,000 events in 0.1 ms instead of 20, in the order of the pages; together they make an event some 8
# microseconds dearer.
CHANGES = """
ALTER TABLE usage_records DROP CONSTRAINT usage_records_tenant_id_run_id_fkey;
CREATE INDEX runs_ended ON runs (tenant_id, finished_at, run_id) WHERE finished_at IS NOT NULL;
CREATE INDEX approvals_of_run ON approvals (tenant_id, run_id);
CREATE INDEX stored_answers_of_route ON stored_answers (tenant_id, route, at);
CREATE INDEX audit_events_of_actor ON audit_events (tenant_id, actor_id, at DESC, audit_id DESC);
CREATE INDEX audit_events_of_action ON audit_events (tenant_id, action, at DESC, audit_id DESC);
CREATE INDEX audit_events_of_resource ON audit_events (tenant_id, resource_id, at DESC, audit_id DESC)
"""
INDEXES = (
    "audit_events_of_resource", "audit_events_of_action", "audit_events_of_actor",
    "stored_answers_of_route", "approvals_of_run", "runs_ended",
)  # fmt: skip

# The application may delete nothing of a run; this runs with its owner's rights instead, and so does as little as it
# can. It serves the tenant of the transaction only, for row-level security is forced on the owner too. Whatever it is
# asked, it keeps what the tenant's own setting keeps (an hour is left for clocks that differ), and all of a tenant
# without one. How old a run is, it does not believe the run's row alone, which the application may change: a run with
# a young milestone stays, and milestones are append-only. Of two at once the second erases nothing: sessions are
# counted as empty by one at a time. A batch must end in time, so it takes no further run once it has so many rows, by
# the milestones and by the pieces of 2,000 bytes that files and results are kept in. All is found by indexes, row by
# row and in their order: a planner without statistics would go through everything that is old for each batch, or
# through all of a table for each row.
FUNCTION = """
CREATE FUNCTION public.erase_ended_runs(
    ended_before timestamptz, most integer, most_rows integer,
    OUT runs bigint, OUT requests bigint, OUT sessions bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    latest timestamptz;
    gone uuid[];
    began timestamptz[];
    routes text[];
    of_sessions text[];
    part text;
BEGIN
    runs := 0;
    requests := 0;
    sessions := 0;
    IF ended_before IS NULL OR NOT pg_try_advisory_xact_lock(hashtextextended('retention:' || tenant, 0)) THEN
        RETURN;
    END IF;
    SELECT now() - make_interval(hours => 24 * (t.settings ->> 'data_retention_days')::integer - 1) INTO latest
        FROM public.tenants t WHERE t.tenant_id = tenant;
    IF latest IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config(name, 'off', true) FROM unnest(ARRAY[
        'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_sort'
    ]) name;
    SELECT array_agg(old.run_id), array_agg(old.created_at), array_agg('messages:' || old.run_id::text),
           array_agg(DISTINCT old.session_id)
        INTO gone, began, routes, of_sessions
        FROM (
            SELECT found.run_id, found.session_id, found.created_at,
                   sum(found.rows) OVER (ORDER BY found.finished_at, found.run_id) - found.rows AS before
            FROM (
                SELECT r.run_id, r.session_id, r.created_at, r.finished_at, r.event_seq + (
                    SELECT coalesce(sum(f.size), 0) / 2000 FROM public.run_files f
                    WHERE f.tenant_id = tenant AND f.run_id = r.run_id
                ) + (
                    SELECT coalesce(sum(pg_column_size(w.content)), 0) / 2000 FROM public.run_results w
                    WHERE w.tenant_id = tenant AND w.run_id = r.run_id
                ) AS rows
                FROM public.runs r
                WHERE r.tenant_id = tenant AND r.finished_at < least(ended_before, latest)
                    AND r.status IN ('completed', 'incomplete', 'failed', 'cancelled')
                    AND NOT EXISTS (
                        SELECT FROM public.approvals a
                        WHERE a.tenant_id = tenant AND a.run_id = r.run_id AND a.closed_at IS NULL
                    )
                    AND NOT EXISTS (
                        SELECT FROM public.run_events e
                        WHERE e.tenant_id = tenant AND e.run_id = r.run_id AND e.at >= latest
                    )
                ORDER BY r.finished_at, r.run_id LIMIT most FOR UPDATE SKIP LOCKED
            ) found
        ) old
        WHERE old.before < most_rows;
    IF gone IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM public.approval_decisions d USING public.approvals a
        WHERE a.tenant_id = tenant AND a.run_id = ANY (gone) AND d.tenant_id = tenant AND d.request_id = a.request_id;
    DELETE FROM public.approvals a WHERE a.tenant_id = tenant AND a.run_id = ANY (gone);
    GET DIAGNOSTICS requests = ROW_COUNT;
    DELETE FROM public.stored_answers s
        WHERE s.tenant_id = tenant AND s.route = 'execute' AND s.at = ANY (began)
            AND s.body ->> 'run_id' = ANY (gone::text[]);
    DELETE FROM public.stored_answers s
        WHERE s.tenant_id = tenant AND s.route = ANY (routes);
    FOREACH part IN ARRAY ARRAY[
        'run_events', 'run_files', 'run_results', 'run_effects', 'run_words', 'transcript', 'runs'
    ] LOOP
        EXECUTE format('DELETE FROM public.%I p WHERE p.tenant_id = $1 AND p.run_id = ANY ($2)', part)
            USING tenant, gone;
        GET DIAGNOSTICS runs = ROW_COUNT;
    END LOOP;
    SELECT array_agg(idle.session_id) INTO of_sessions FROM (
        SELECT s.session_id FROM public.sessions s
        WHERE s.tenant_id = tenant AND s.session_id = ANY (of_sessions) FOR UPDATE SKIP LOCKED
    ) idle;
    DELETE FROM public.sessions s
        WHERE s.tenant_id = tenant AND s.session_id = ANY (of_sessions) AND NOT EXISTS (
            SELECT FROM public.runs r WHERE r.tenant_id = tenant AND r.session_id = s.session_id
        );
    GET DIAGNOSTICS sessions = ROW_COUNT;
END
$$
"""
NAME = "public.erase_ended_runs(timestamptz, integer, integer)"


def upgrade() -> None:
    """Makes the function, for the application alone, and the indexes."""
    for statement in CHANGES.split(";\n"):
        op.execute(statement)
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {NAME} TO {APP_ROLE}")


def downgrade() -> None:
    """Takes them back; usage of runs that were erased meanwhile stays, unchecked."""
    op.execute(f"DROP FUNCTION {NAME}")
    for index in INDEXES:
        op.execute(f"DROP INDEX {index}")
    op.execute(
        "ALTER TABLE usage_records ADD CONSTRAINT usage_records_tenant_id_run_id_fkey "
        "FOREIGN KEY (tenant_id, run_id) REFERENCES runs NOT VALID"
    )
