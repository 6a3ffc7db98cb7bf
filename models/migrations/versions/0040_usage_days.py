"""Usage is summed up by days of the tenant's time zone too, several times fewer rows than by quarters of an hour."""

from importlib import import_module
from typing import Final

from alembic import op

from models.migrations.isolation import APP_ROLE, isolate

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

_0035 = import_module("models.migrations.versions.0035_usage_buckets")
COUNTS: Final = tuple(_0035.COUNTS)
AMOUNTS: Final = tuple(_0035.AMOUNTS)
SUMS: Final = (*COUNTS, *AMOUNTS)
DIMENSIONS: Final[tuple[str, ...]] = _0035.DIMENSIONS
KEY: Final = ("tenant_id", "day", *DIMENSIONS)

# What each report reads stands first, and numbers before texts: columns behind texts of any length take longer to read,
# and a report reads very many rows. A rollup changes the rows of a day again and again: room on their pages keeps them
# together, and the index as it is.
TABLE = f"""
CREATE TABLE usage_days (
    day date NOT NULL,
    {", ".join(f"{name} bigint NOT NULL" for name in COUNTS)},
    tenant_id text NOT NULL REFERENCES tenants,
    currency text NOT NULL,
    {", ".join(f"{name} numeric NOT NULL" for name in AMOUNTS)},
    {", ".join(f"{name} text NOT NULL" for name in DIMENSIONS if name != "currency")},
    PRIMARY KEY ({", ".join(KEY)})
) WITH (fillfactor = 80)
"""

# Days are those of `usage_zone`, and all that there is of the days from `usage_days_since` on is in their sums; what is
# kept of earlier ones means nothing. NULL before the first rollup.
COLUMNS = {"usage_zone": "text", "usage_days_since": "date"}

# `sum` of bigint keeps a number of 128 bits in memory of its own for each group, and returns numeric. This one keeps a
# bigint, which holds nine billion times a billion, and raises an error beyond.
TOTAL = """
CREATE AGGREGATE public.total(bigint) (
    SFUNC = int8pl, STYPE = bigint, INITCOND = '0', COMBINEFUNC = int8pl, PARALLEL = SAFE
)
"""
TOTAL_NAME = "public.total(bigint)"

_TOTALS = ", ".join([*(f"public.total(b.{name})" for name in COUNTS), *(f"sum(b.{name})" for name in AMOUNTS)])
_GROUPS = ", ".join(str(place) for place in range(1, len(KEY) + 1))
_SUMMED = f"""
    INSERT INTO public.usage_days AS d ({", ".join((*KEY, *SUMS))})
    SELECT b.tenant_id, (b.bucket AT TIME ZONE zone)::date, {", ".join(f"b.{name}" for name in DIMENSIONS)}, {_TOTALS}
    FROM %s b
    WHERE %s
    GROUP BY {_GROUPS}
    ORDER BY {_GROUPS}
"""

# A day is found by its buckets' beginnings. At a zone's midnight there may be two moments, or none: what is near is
# read as well.
MAKE = f"""
CREATE FUNCTION public.make_usage_days(first date, last date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone CONSTANT text := (SELECT t.usage_zone FROM public.tenants t WHERE t.tenant_id = tenant);
BEGIN
    DELETE FROM public.usage_days d WHERE d.tenant_id = tenant AND d.day BETWEEN first AND last;
{
    _SUMMED
    % (
        "public.usage_buckets",
        '''b.tenant_id = tenant
        AND b.bucket >= first::timestamp AT TIME ZONE zone - interval '1 day'
        AND b.bucket < last::timestamp AT TIME ZONE zone + interval '2 days'
        AND (b.bucket AT TIME ZONE zone)::date BETWEEN first AND last''',
    )
};
END
$$
"""
MAKE_NAME = "public.make_usage_days(date, date)"

# Whoever adds to buckets adds to days, in the same transaction: a function that rolls up, or the application, which
# adds what is not recorded one by one. A day is locked after its bucket, in the order of keys, so that two transactions
# do not wait for each other. The zone is read under the lock that whoever changes it has for itself.
_ADDED = ", ".join(f"{name} = d.{name} + excluded.{name}" for name in SUMS)
_CONFLICT = f"    ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {_ADDED}"
_CHANGED = f"""(
        SELECT {", ".join(("tenant_id", "bucket", *DIMENSIONS, *SUMS))} FROM added
        UNION ALL
        SELECT {", ".join(("tenant_id", "bucket", *DIMENSIONS, *(f"-{name}" for name in SUMS)))} FROM before
    )"""
_SINCE = "(b.bucket AT TIME ZONE zone)::date >= days_since"
ADD = f"""
CREATE FUNCTION public.add_to_usage_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone text;
    days_since date;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage:' || tenant, 0));
    SELECT t.usage_zone, t.usage_days_since INTO zone, days_since FROM public.tenants t WHERE t.tenant_id = tenant;
    IF zone IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN{_SUMMED % ("added", _SINCE)}{_CONFLICT};
    ELSE{_SUMMED % (_CHANGED, _SINCE)}{_CONFLICT};
    END IF;
    RETURN NULL;
END
$$
"""
ADD_NAME = "public.add_to_usage_days()"
TRIGGERS = {
    "days_of_added": "AFTER INSERT ON usage_buckets REFERENCING NEW TABLE AS added",
    "days_of_changed": "AFTER UPDATE ON usage_buckets REFERENCING NEW TABLE AS added OLD TABLE AS before",
}

# Days begin elsewhere once the tenant's time zone is another one. From then on they are those of the new zone; earlier
# ones are made of the buckets one at a call, while nobody rolls up, so that no call takes long. A zone that the server
# does not know changes nothing; one that it knows no longer, as after a restore elsewhere, gives way to UTC.
FOLLOW = """
CREATE FUNCTION public.follow_usage_zone() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant CONSTANT text := current_setting('app.tenant_id', true);
    zone text;
    before text;
    since date;
    earlier date;
BEGIN
    SELECT coalesce(t.settings->>'time_zone', 'UTC'), t.usage_zone, t.usage_days_since INTO zone, before, since
        FROM public.tenants t WHERE t.tenant_id = tenant;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOREACH zone IN ARRAY ARRAY[zone, coalesce(before, 'UTC'), 'UTC'] LOOP
        BEGIN
            PERFORM now() AT TIME ZONE zone;
            EXIT;
        EXCEPTION WHEN invalid_parameter_value THEN
        END;
    END LOOP;
    IF zone = before AND since = '-infinity' THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('usage:' || tenant, 0));
    SELECT t.usage_zone, t.usage_days_since INTO before, since
        FROM public.tenants t WHERE t.tenant_id = tenant AND t.status <> 'deleting';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF zone IS DISTINCT FROM before THEN
        SELECT coalesce((max(b.bucket) AT TIME ZONE zone)::date + 1, '-infinity') INTO since
            FROM public.usage_buckets b WHERE b.tenant_id = tenant;
        DELETE FROM public.usage_days d WHERE d.tenant_id = tenant AND d.day >= since;
        UPDATE public.tenants t SET usage_zone = zone, usage_days_since = since WHERE t.tenant_id = tenant;
    ELSIF since > '-infinity' THEN
        SELECT coalesce((max(b.bucket) AT TIME ZONE zone)::date, '-infinity') INTO earlier
            FROM public.usage_buckets b
            WHERE b.tenant_id = tenant AND b.bucket < since::timestamp AT TIME ZONE zone + interval '1 day'
            AND (b.bucket AT TIME ZONE zone)::date < since;
        PERFORM public.make_usage_days(earlier, since - 1);
        UPDATE public.tenants t SET usage_days_since = earlier WHERE t.tenant_id = tenant;
        since := earlier;
    END IF;
    RETURN since > '-infinity';
END
$$
"""
FOLLOW_NAME = "public.follow_usage_zone()"

# Derived from the function of 0035: days are made anew of the buckets, which mends what is wrong in either.
SUMMED_UP = "    RETURN summed;\n"
DAYS_TOO = """    PERFORM public.make_usage_days(
            greatest((since AT TIME ZONE t.usage_zone)::date, t.usage_days_since),
            ((until - interval '15 minutes') AT TIME ZONE t.usage_zone)::date
        ) FROM public.tenants t WHERE t.tenant_id = tenant AND t.usage_zone IS NOT NULL;
"""
REBUILD: str = _0035.REBUILD.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


def upgrade() -> None:
    """Makes the table and what keeps it; days of before are made by rollups, so that this takes no time."""
    op.execute(TABLE)
    isolate("usage_days")
    op.execute(f"REVOKE INSERT ON usage_days FROM {APP_ROLE}")
    op.execute(f"ALTER TABLE tenants {', '.join(f'ADD COLUMN {name} {kind}' for name, kind in COLUMNS.items())}")
    for name, routine in {TOTAL_NAME: TOTAL, MAKE_NAME: MAKE, ADD_NAME: ADD, FOLLOW_NAME: FOLLOW}.items():
        op.execute(routine)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    for name in (TOTAL_NAME, FOLLOW_NAME):
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {APP_ROLE}")
    for name, when in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH STATEMENT EXECUTE FUNCTION {ADD_NAME}")
    op.execute(_with_days(REBUILD))


def downgrade() -> None:
    """Takes it back; sums by quarters of an hour have been complete all the time."""
    op.execute(REBUILD)
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON usage_buckets")
    for name in (FOLLOW_NAME, ADD_NAME, MAKE_NAME, TOTAL_NAME):
        op.execute(f"DROP ROUTINE {name}")
    op.execute(f"ALTER TABLE tenants {', '.join(f'DROP COLUMN {name}' for name in COLUMNS)}")
    op.execute("DROP TABLE usage_days")


def _with_days(function: str) -> str:
    if function.count(SUMMED_UP) != 1:
        raise ValueError("The function of 0035 has no place for days.")
    return function.replace(SUMMED_UP, DAYS_TOO + SUMMED_UP)
