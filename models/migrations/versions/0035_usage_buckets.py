"""Usage is summed up by quarters of an hour and by days, each record exactly once, and can be summed up anew."""

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
_COLUMNS = f"""
    {", ".join(f"{name} bigint NOT NULL" for name in COUNTS)},
    tenant_id text NOT NULL REFERENCES tenants,
    currency text NOT NULL,
    {", ".join(f"{name} numeric NOT NULL" for name in AMOUNTS)},
    {", ".join(f"{name} text NOT NULL" for name in DIMENSIONS if name != "currency")},
"""
TABLE = f"""
CREATE TABLE usage_buckets (
    bucket timestamptz NOT NULL CHECK (bucket = date_bin('15 minutes', bucket, '2000-01-01Z')),
    {_COLUMNS}
    PRIMARY KEY ({", ".join(KEY)})
)
"""
DAY_KEY = ("tenant_id", "day", *DIMENSIONS)
# The same once more by days of the tenant's time zone, several times fewer rows: of the zone in `tenants.usage_zone`.
DAYS = f"""
CREATE TABLE usage_days (
    day date NOT NULL,
    {_COLUMNS}
    PRIMARY KEY ({", ".join(DAY_KEY)})
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

_VALUES = ", ".join([f"u.{name}" if name in REQUIRED else f"coalesce(u.{name}, '')" for name in DIMENSIONS])
_GROUPS = ", ".join(str(place) for place in range(1, len(KEY) + 1))
_INSERT = "        INSERT INTO public.%s AS b (tenant_id, %s, " + f"{', '.join(DIMENSIONS)}, {', '.join(SUMS)})"
_SELECT = f"""
        SELECT u.tenant_id, %s, {_VALUES},
            {", ".join(f"sum({value})" for value in SUMS.values())}
        FROM %s u %s
        GROUP BY {_GROUPS}
        ORDER BY {_GROUPS}
"""
_ADDED = ", ".join(f"{name} = b.{name} + excluded.{name}" for name in SUMS)
_SUMMED = _INSERT % ("usage_buckets", "bucket") + _SELECT.replace(
    "%s", "date_bin('15 minutes', u.at, '2000-01-01Z')", 1
)
_SINCE = "WHERE (u.at AT TIME ZONE zone)::date >= days_since"
_SUMMED_BY_DAY = _INSERT % ("usage_days", "day") + _SELECT.replace("%s", "(u.at AT TIME ZONE zone)::date", 1)
_DAY = "(u.bucket AT TIME ZONE zone)::date"
_ON_DAY = f"""
            AND u.bucket >= earlier::timestamptz - interval '2 days'
            AND u.bucket < earlier::timestamptz + interval '3 days' AND {_DAY} = earlier"""
_TOUCHED = (
    "%s BETWEEN greatest((since AT TIME ZONE zone)::date, days_since) "
    "AND ((until - interval '1 us') AT TIME ZONE zone)::date"
)
_NEAR = f"""
            AND u.bucket >= since - interval '2 days' AND u.bucket < until + interval '2 days'
            AND {_TOUCHED % _DAY}"""
_DAYS_OF_BUCKETS = f"""{_INSERT % ("usage_days", "day")}
        SELECT u.tenant_id, {_DAY}, {", ".join(f"u.{name}" for name in DIMENSIONS)},
            {", ".join(f"sum(u.{name})" for name in SUMS)}
        FROM public.usage_buckets u
        WHERE u.tenant_id = tenant %s
        GROUP BY {_GROUPS}
"""

# The application changes neither records nor buckets: what was used could be made to vanish. It serves the tenant of
# the transaction only, for row-level security is forced on the owner too. Marking and adding are one statement:
# whatever dies, a record is in its bucket and marked, or neither. One that another transaction rolls up at this moment
# is left to it. Buckets are locked in the order of their keys, so that two transactions do not wait for each other.
ROLL_UP = f"""
CREATE FUNCTION public.roll_up_usage(most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone text;
    days_since date;
    taken bigint;
BEGIN
    PERFORM public.follow_usage_zone();
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage:' || tenant, 0));
    -- Of what is committed now: nobody changes it while this transaction holds the lock.
    SELECT t.usage_zone, t.usage_days_since INTO zone, days_since FROM public.tenants t WHERE t.tenant_id = tenant;
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
    ), added_by_day AS ({_SUMMED_BY_DAY % ("marked", _SINCE)}
        ON CONFLICT ({", ".join(DAY_KEY)}) DO UPDATE SET {_ADDED}
    )
    SELECT count(*) INTO taken FROM marked;
    RETURN taken;
END
$$
"""
ROLL_UP_NAME = "public.roll_up_usage(integer)"

# Days begin elsewhere once the tenant's time zone is another one. From then on they are those of the new zone; earlier
# ones are made of the buckets one at a call, while nobody rolls up, so that no call takes long, and `usage_days_since`
# says how far that has come. A zone that the server does not know changes nothing.
FOLLOW = f"""
CREATE FUNCTION public.follow_usage_zone() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone text;
    before text;
    since date;
    earlier date;
BEGIN
    SELECT coalesce(t.settings->>'time_zone', 'UTC'), t.usage_zone, t.usage_days_since INTO zone, before, since
        FROM public.tenants t WHERE t.tenant_id = tenant AND t.status <> 'deleting';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM now() AT TIME ZONE zone;
    EXCEPTION WHEN invalid_parameter_value THEN
        zone := coalesce(before, 'UTC');
    END;
    IF zone = before AND since = '-infinity' THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('usage:' || tenant, 0));
    SELECT t.usage_zone, t.usage_days_since INTO before, since FROM public.tenants t WHERE t.tenant_id = tenant;
    IF zone IS DISTINCT FROM before THEN
        SELECT coalesce((max(b.bucket) AT TIME ZONE zone)::date + 1, '-infinity') INTO since
            FROM public.usage_buckets b WHERE b.tenant_id = tenant;
        DELETE FROM public.usage_days d WHERE d.tenant_id = tenant AND d.day >= since;
        UPDATE public.tenants t SET usage_zone = zone, usage_days_since = since WHERE t.tenant_id = tenant;
    ELSIF since > '-infinity' THEN
        SELECT coalesce((max(b.bucket) AT TIME ZONE zone)::date, '-infinity') INTO earlier
            FROM public.usage_buckets b
            WHERE b.tenant_id = tenant AND b.bucket < since::timestamptz + interval '2 days'
            AND (b.bucket AT TIME ZONE zone)::date < since;
        DELETE FROM public.usage_days d WHERE d.tenant_id = tenant AND d.day >= earlier AND d.day < since;
        IF earlier > '-infinity' THEN
{_DAYS_OF_BUCKETS % _ON_DAY};
        END IF;
        UPDATE public.tenants t SET usage_days_since = earlier WHERE t.tenant_id = tenant;
    END IF;
END
$$
"""
FOLLOW_NAME = "public.follow_usage_zone()"

# What is not recorded one by one has a bucket alone, which the application adds itself.
OTHERS = f"""
CREATE FUNCTION public.usage_day_of_bucket() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage:' || NEW.tenant_id, 0));
{_INSERT % ("usage_days", "day")}
        SELECT t.tenant_id, (NEW.bucket AT TIME ZONE t.usage_zone)::date,
            {", ".join(f"NEW.{name}" for name in (*DIMENSIONS, *SUMS))}
        FROM public.tenants t WHERE t.tenant_id = NEW.tenant_id
            AND (NEW.bucket AT TIME ZONE t.usage_zone)::date >= t.usage_days_since
        ON CONFLICT ({", ".join(DAY_KEY)}) DO UPDATE SET {_ADDED};
    RETURN NULL;
END
$$
"""
OTHERS_NAME = "public.usage_day_of_bucket()"
TRIGGER = f"""
CREATE TRIGGER day_of_bucket AFTER INSERT ON usage_buckets
FOR EACH ROW WHEN (NEW.kind IN ('storage', 'api')) EXECUTE FUNCTION {OTHERS_NAME}
"""

# Nobody rolls up meanwhile, so that each record is in the buckets that go or among those that are added later. Where
# retention has erased records, their sums would be lost: it says nothing then.
REBUILD = f"""
CREATE FUNCTION public.rebuild_usage(since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone text;
    days_since date;
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
    SELECT t.usage_zone, t.usage_days_since INTO zone, days_since FROM public.tenants t WHERE t.tenant_id = tenant;
    DELETE FROM public.usage_days d WHERE d.tenant_id = tenant AND {_TOUCHED % "d.day"};
    {_DAYS_OF_BUCKETS % _NEAR};
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


FUNCTIONS = {
    TOTAL_NAME: TOTAL,
    FOLLOW_NAME: FOLLOW,
    ROLL_UP_NAME: ROLL_UP,
    REBUILD_NAME: REBUILD,
    OTHERS_NAME: OTHERS,
}


def upgrade() -> None:
    """Makes the tables, and the functions for the application alone."""
    op.execute(TABLE)
    op.execute(DAYS)
    isolate("usage_buckets")
    isolate("usage_days")
    op.execute(f"REVOKE INSERT ON usage_days FROM {APP_ROLE}")
    open_to_platform("usage_records", only="NOT rolled_up")
    op.execute(
        "ALTER TABLE tenants ADD COLUMN usage_whole_since timestamptz, "
        "ADD COLUMN usage_zone text, ADD COLUMN usage_days_since date"
    )
    for name, function in FUNCTIONS.items():
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        if name != OTHERS_NAME:
            op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {APP_ROLE}")
    op.execute(TRIGGER)
    op.execute(_noting(ERASE))


def downgrade() -> None:
    """Takes it back; retention erases usage records without looking at buckets."""
    op.execute(ERASE)
    op.execute("DROP TRIGGER day_of_bucket ON usage_buckets")
    for name in FUNCTIONS:
        op.execute(f"DROP ROUTINE {name}")
    op.execute(
        "ALTER TABLE tenants DROP COLUMN usage_whole_since, DROP COLUMN usage_zone, DROP COLUMN usage_days_since"
    )
    op.execute("DROP POLICY platform_reads ON usage_records")
    op.execute("DROP TABLE usage_days")
    op.execute("DROP TABLE usage_buckets")


def _noting(function: str) -> str:
    if function.count(USAGE) != 1:
        raise ValueError("The function of 0034 has no place for usage.")
    return function.replace(USAGE, USAGE + NOTED)
