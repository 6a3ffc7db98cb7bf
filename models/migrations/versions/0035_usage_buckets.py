"""Usage is summed up by quarters of an hour, each record exactly once, and can be summed up anew."""

from importlib import import_module

from alembic import op

from models.migrations.isolation import APP_ROLE, isolate, open_to_platform

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

COUNTS = {
    "records": "1",
    "failed": "(u.error_code IS NOT NULL)::integer",
    "input_tokens": "u.input_tokens",
    "output_tokens": "u.output_tokens",
    "cached_tokens": "u.cached_tokens",
    "cache_write_tokens": "u.cache_write_tokens",
    "reasoning_tokens": "u.reasoning_tokens",
    "audio_input_tokens": "u.audio_input_tokens",
    "audio_output_tokens": "u.audio_output_tokens",
    "wasted_tokens": "CASE WHEN u.error_code IS NOT NULL THEN u.input_tokens + u.output_tokens ELSE 0 END",
    "estimated_tokens": "CASE WHEN u.estimated IS NOT NULL THEN u.input_tokens + u.output_tokens ELSE 0 END",
    "duration_ms": "u.duration_ms",
    "unpriced": "(u.cost IS NULL AND u.kind IN ('model', 'embedding'))::integer",
}
AMOUNTS = {"cost": "coalesce(u.cost, 0)", "quantity": "0"}
SUMS = COUNTS | AMOUNTS
REQUIRED = ("kind", "user_id", "agent_id")
DIMENSIONS = (
    *REQUIRED,
    *("agent_version", "model", "provider", "tool", "department", "cost_center", "currency"),
)
KEY = ("tenant_id", "bucket", *DIMENSIONS)

# What each report reads stands first, and numbers before texts: columns behind texts of any length take longer to read,
# and a report reads very many rows.
TABLE = f"""
CREATE TABLE usage_buckets (
    bucket timestamptz NOT NULL CHECK (bucket = date_bin('15 minutes', bucket, '2000-01-01Z')),
    {", ".join(f"{name} bigint NOT NULL" for name in COUNTS)},
    tenant_id text NOT NULL REFERENCES tenants,
    currency text NOT NULL,
    {", ".join(f"{name} numeric NOT NULL" for name in AMOUNTS)},
    {", ".join(f"{name} text NOT NULL" for name in DIMENSIONS if name != "currency")},
    PRIMARY KEY ({", ".join(KEY)})
)
"""

# `sum` of bigint keeps a number of 128 bits in memory of its own for each group, and returns numeric. This one keeps a
# bigint, which holds nine billion times a billion, and raises an error beyond.
TOTAL = """
CREATE AGGREGATE public.total(bigint) (
    SFUNC = int8pl, STYPE = bigint, INITCOND = '0', COMBINEFUNC = int8pl, PARALLEL = SAFE
)
"""
TOTAL_NAME = "public.total(bigint)"

_FROM = "date_bin('15 minutes', u.at, '2000-01-01Z')"
_VALUES = ", ".join([f"u.{name}" if name in REQUIRED else f"coalesce(u.{name}, '')" for name in DIMENSIONS])
_SUMMED = f"""
        INSERT INTO public.usage_buckets AS b (tenant_id, bucket, {", ".join(DIMENSIONS)}, {", ".join(SUMS)})
        SELECT u.tenant_id, {_FROM}, {_VALUES},
            {", ".join(f"sum({value})" for value in SUMS.values())}
        FROM %s u %s
        GROUP BY 1, 2, {", ".join(str(place) for place in range(3, len(KEY) + 1))}
        ORDER BY 1, 2, {", ".join(str(place) for place in range(3, len(KEY) + 1))}
"""
_ADDED = ", ".join(f"{name} = b.{name} + excluded.{name}" for name in SUMS)

# The application changes neither records nor buckets: what was used could be made to vanish. It serves the tenant of
# the transaction only, for row-level security is forced on the owner too. Marking and adding are one statement:
# whatever dies, a record is in its bucket and marked, or neither. One that another transaction rolls up at this moment
# is left to it. Buckets are locked in the order of their keys, so that two transactions do not wait for each other.
ROLL_UP = f"""
CREATE FUNCTION public.roll_up_usage(most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    taken bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage:' || tenant, 0));
    IF EXISTS (SELECT FROM public.tenants t WHERE t.tenant_id = tenant AND t.status = 'deleting') THEN
        RETURN 0;
    END IF;
    PERFORM set_config(name, 'off', true) FROM unnest(ARRAY[
        'enable_seqscan', 'enable_bitmapscan', 'enable_hashjoin', 'enable_mergejoin'
    ]) name;
    WITH marked AS (
        UPDATE public.usage_records r SET rolled_up = true
        WHERE r.tenant_id = tenant AND r.ctid = ANY (ARRAY(
            SELECT o.ctid FROM public.usage_records o
            WHERE o.tenant_id = tenant AND NOT o.rolled_up
            ORDER BY o.at LIMIT most FOR UPDATE SKIP LOCKED
        ))
        RETURNING r.*
    ), added AS ({_SUMMED % ("marked", "")}
        ON CONFLICT ({", ".join(KEY)}) DO UPDATE SET {_ADDED}
    )
    SELECT count(*) INTO taken FROM marked;
    RETURN taken;
END
$$
"""
ROLL_UP_NAME = "public.roll_up_usage(integer)"

# Nobody rolls up meanwhile, so that each record is in the buckets that go or among those that are added later. Where
# retention has erased records, their sums would be lost: it says nothing then.
REBUILD = f"""
CREATE FUNCTION public.rebuild_usage(since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    summed bigint;
BEGIN
    IF EXISTS (SELECT FROM unnest(ARRAY[since, until]) b WHERE b <> date_bin('15 minutes', b, '2000-01-01Z')) THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a bucket is rebuilt as a whole';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('usage:' || tenant, 0));
    IF EXISTS (
        SELECT FROM public.tenants t
        WHERE t.tenant_id = tenant AND (t.status = 'deleting' OR t.usage_whole_since > since)
    ) THEN
        RETURN NULL;
    END IF;
    DELETE FROM public.usage_buckets b
        WHERE b.tenant_id = tenant AND b.bucket >= since AND b.bucket < until AND b.kind NOT IN ('storage', 'api');
    WITH added AS ({
    _SUMMED
    % (
        "public.usage_records",
        "WHERE u.tenant_id = tenant AND u.at >= since AND u.at < until AND u.rolled_up",
    )
}
        RETURNING b.records
    )
    SELECT coalesce(sum(a.records), 0) INTO summed FROM added a;
    RETURN summed;
END
$$
"""
REBUILD_NAME = "public.rebuild_usage(timestamptz, timestamptz)"

# Retention of usage records, derived from the function of 0028 as 0034 left it: since when all of a tenant's records
# are there is noted before some go, and nobody makes buckets of them at that moment.
_0034 = import_module("models.migrations.versions.0034_usage")
ERASE: str = _0034.ERASE.replace(_0034.OLD, _0034.KEPT).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
USAGE = "    ELSIF kind = 'usage' THEN\n"
NOTED = """        PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage:' || tenant, 0));
        UPDATE public.tenants t SET usage_whole_since = latest
            WHERE t.tenant_id = tenant AND (t.usage_whole_since IS NULL OR t.usage_whole_since < latest)
            AND EXISTS (SELECT FROM public.usage_records o WHERE o.tenant_id = tenant AND o.at < latest);
"""


def upgrade() -> None:
    """Makes the table, and the functions for the application alone."""
    op.execute(TABLE)
    isolate("usage_buckets")
    open_to_platform("usage_records", only="NOT rolled_up")
    op.execute("ALTER TABLE tenants ADD COLUMN usage_whole_since timestamptz")
    for name, function in {TOTAL_NAME: TOTAL, ROLL_UP_NAME: ROLL_UP, REBUILD_NAME: REBUILD}.items():
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {APP_ROLE}")
    op.execute(_noting(ERASE))


def downgrade() -> None:
    """Takes it back; retention erases usage records without looking at buckets."""
    op.execute(ERASE)
    for name in (ROLL_UP_NAME, REBUILD_NAME):
        op.execute(f"DROP FUNCTION {name}")
    op.execute(f"DROP AGGREGATE {TOTAL_NAME}")
    op.execute("ALTER TABLE tenants DROP COLUMN usage_whole_since")
    op.execute("DROP POLICY platform_reads ON usage_records")
    op.execute("DROP TABLE usage_buckets")


def _noting(function: str) -> str:
    if function.count(USAGE) != 1:
        raise ValueError("The function of 0034 has no place for usage.")
    return function.replace(USAGE, USAGE + NOTED)
