"""Usage records say of what kind they are, to whom they are charged, and what they cost."""

from importlib import import_module

from alembic import op

from models.migrations.indexes import build_index, drop_index

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

# All of a default: old workers insert beside this schema for a while, and do not know the columns.
RECORD = {
    "kind": "text NOT NULL DEFAULT 'model'",
    "session_id": "text",
    "agent_version": "text",
    "provider": "text",
    "department": "text",
    "cost_center": "text",
    "tags": "jsonb NOT NULL DEFAULT '{}'",
    "cache_write_tokens": "bigint NOT NULL DEFAULT 0",
    "reasoning_tokens": "bigint NOT NULL DEFAULT 0",
    "audio_input_tokens": "bigint NOT NULL DEFAULT 0",
    "audio_output_tokens": "bigint NOT NULL DEFAULT 0",
    "estimated": "text",
    "cost": "numeric",
    "currency": "text",
    "price_source": "text",
    "rolled_up": "boolean NOT NULL DEFAULT false",
}
RUN = {
    "attribution": "jsonb",
    "cache_write_tokens": "bigint NOT NULL DEFAULT 0",
    "reasoning_tokens": "bigint NOT NULL DEFAULT 0",
    "estimated_tokens": "bigint NOT NULL DEFAULT 0",
}
COLUMNS = {"usage_records": RECORD, "runs": RUN, "tenants": {"metering_revision": "integer NOT NULL DEFAULT 0"}}

# What an old worker does not say. New ones always do, and pay for the comparison with NULL only.
KIND = """
CREATE OR REPLACE FUNCTION public.usage_kind_of_before() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.kind := CASE WHEN NEW.tool IS NULL THEN 'model' ELSE 'tool' END;
    RETURN NEW;
END
$$
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER kind_of_before BEFORE INSERT ON usage_records
FOR EACH ROW WHEN (NEW.kind IS NULL) EXECUTE FUNCTION public.usage_kind_of_before()
"""

# Forced on its owner too, row-level security hides every row but one tenant's. A transaction for each of them, for the
# records of all may be many.
FILL = """
DO $$
DECLARE
    tenant text;
BEGIN
    PERFORM set_config('app.platform', 'on', true);
    FOR tenant IN SELECT t.tenant_id FROM public.tenants t LOOP
        PERFORM set_config('app.tenant_id', tenant, true);
        UPDATE public.usage_records u SET kind = 'tool'
            WHERE u.tenant_id = tenant AND u.tool IS NOT NULL AND u.kind = 'model';
        COMMIT;
    END LOOP;
END
$$
"""

TO_ROLL_UP = "usage_records (tenant_id, at) WHERE NOT rolled_up"
ERASE: str = import_module("models.migrations.versions.0028_retention_of_records").FUNCTION
# What is in no sum yet would be missing in all of them.
OLD = "WHERE o.tenant_id = tenant AND o.at < latest AND NOT EXISTS ("
KEPT = "WHERE o.tenant_id = tenant AND o.at < latest AND o.rolled_up AND NOT EXISTS ("


def upgrade() -> None:
    """Adds the columns, fills in what is known, and lets retention erase no record before it is rolled up.

    What it does is safe to be repeated: outside a transaction it may be broken off.
    """
    for table, columns in COLUMNS.items():
        op.execute(f"ALTER TABLE {table} {', '.join(f'ADD COLUMN IF NOT EXISTS {n} {c}' for n, c in columns.items())}")
    op.execute(KIND)
    op.execute("REVOKE ALL ON FUNCTION public.usage_kind_of_before() FROM PUBLIC")
    op.execute(TRIGGER)
    op.execute("ALTER TABLE usage_records ALTER COLUMN kind DROP DEFAULT")
    op.execute(_replacing(OLD, KEPT))
    with op.get_context().autocommit_block():
        op.execute(FILL)
    build_index("usage_records_to_roll_up", TO_ROLL_UP)


def downgrade() -> None:
    """Takes it back."""
    drop_index("usage_records_to_roll_up")
    op.execute(_replacing(OLD, OLD))
    op.execute("DROP TRIGGER kind_of_before ON usage_records")
    op.execute("DROP FUNCTION public.usage_kind_of_before()")
    for table, columns in COLUMNS.items():
        op.execute(f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {name}' for name in columns)}")


def _replacing(before: str, after: str) -> str:
    if ERASE.count(before) != 1:
        raise ValueError(f"There is not one {before!r} in the function of 0028.")
    return ERASE.replace(before, after).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
