"""Every table that there is, and every one that will be, stands behind the tenant's wall."""

from collections.abc import Sequence
from typing import Any

import asyncpg

OPEN_RUN = "status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text, 'paused'::text])"
OPEN_DELIVERY = "status = ANY (ARRAY['queued'::text, 'pending'::text])"
APP = "taskforce_app"
NOT_TENANTS = frozenset({"alembic_version"})
"""The only tables without a tenant; one that is added here needs a very good reason."""
CHANGED_IN_PLACE = frozenset(
    {"users", "runs", "run_files", "approvals", "tenants", "roles", "api_keys", "rate_buckets"}
    | {"approval_delegations", "approval_definitions", "agents", "agent_versions", "webhooks", "webhook_deliveries"}
    | {"request_results", "run_words", "sweep_leases", "model_prices", "service_statistics", "cost_reports"}
    | {"budgets", "budget_ledgers", "budget_reservations"}
)
"""The tables in which the application may change rows; all others are append-only."""
DELETED_FROM = frozenset(
    {"roles", "resource_grants", "approval_delegations", "approval_definitions", "agents", "agent_versions"}
    | {"webhooks", "request_results", "request_result_pieces", "kill_switches"}
    | {"model_prices", "service_statistics", "budgets", "budget_ledgers", "budget_reservations"}
)
"""The tables from which the application may delete."""
WRITTEN_BY_FUNCTION = frozenset(
    {"approval_readers", "audit_anchors", "audit_unsealed", "tenant_deletions", "usage_days"}
)
"""The tables that the application only reads; a function of `OWNERS_FUNCTIONS` writes them."""
OWNERS_FUNCTIONS = {
    "drop_sealed_audit_events(timestamp with time zone,integer)": "retention: the application itself deletes nothing "
    "of the audit log; this drops old events from the beginning of one tenant's chain and keeps their anchor",
    "erase_ended_runs(timestamp with time zone,integer,integer)": "retention: the application itself deletes nothing "
    "of a run; this erases one tenant's runs that ended before what the tenant's own setting keeps",
    "erase_expired_records(text,timestamp with time zone,integer)": "retention: the application itself deletes no "
    "answer, delivery, request or usage record; this erases one tenant's that its own setting keeps no longer",
    "roll_up_usage(integer)": "the application changes neither usage records nor their sums, or use could be made to "
    "vanish; this adds records to their buckets and marks them, both or neither",
    "follow_usage_zone()": "the same sums by days; this makes them anew, a day at a time, once they begin elsewhere",
    "add_to_usage_days()": "the same sums by days; this trigger adds what is added to buckets",
    "rebuild_usage(timestamp with time zone,timestamp with time zone)": "the same sums; this replaces those of a "
    "period by sums of its records, as long as all of them are there",
    "begin_tenant_deletion(text,text,text,timestamp with time zone,timestamp with time zone)": "the application can "
    "neither forge nor change the tombstone of a tenant, whose time is the database's; this writes it once",
    "erase_tenant_rows(text,integer)": "the application itself deletes nothing; this erases the rows of a tenant that "
    "has a tombstone and is being deleted, its audit log last and not before its time",
    "tenants_with_expired_rows(text,timestamp with time zone)": "the platform may not read rows of all tenants; this "
    "tells its transactions which tenants have some to erase, and nothing of the rows",
    "keep_approval_readers()": "the application changes nothing in the index of whom a request concerns, or it could "
    "show a request to others; this trigger keeps it like the request",
    "note_unsealed_audit_event()": "the application changes nothing in the queue of unsealed audit events, or it could "
    "keep an event out of the chain; this trigger puts in what is appended",
    "forget_sealed_audit_events()": "the same queue; this trigger takes out what is sealed, and nothing else",
}
"""The functions that run with their owner's rights, and why each must; one more needs a very good reason."""
OWN_ROWS = "(tenant_id = current_setting('app.tenant_id'::text, true))"
READ_BY_PLATFORM = {
    "audit_unsealed": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "tenants": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "api_keys": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "webhook_deliveries": f"((current_setting('app.platform'::text, true) = 'on'::text) AND ({OPEN_DELIVERY}))",
    "runs": f"((current_setting('app.platform'::text, true) = 'on'::text) AND ({OPEN_RUN}))",
    "approvals": "((current_setting('app.platform'::text, true) = 'on'::text) AND (status = 'pending'::text))",
    "usage_records": "((current_setting('app.platform'::text, true) = 'on'::text) AND (NOT rolled_up))",
    "run_words": "((current_setting('app.platform'::text, true) = 'on'::text) AND (told_at IS NULL))",
    "tenant_deletions": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "tenant_deletion_phases": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "kill_switches": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "budgets": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
    "budget_ledgers": "((current_setting('app.platform'::text, true) = 'on'::text) AND true)",
}
"""What the platform door may read of all tenants."""
READ_BY_ALL = {("kill_switches", "all_read_installation"): "(scope = 'installation'::text)"}
"""What every tenant may read of another: the kill switch of the installation, which halts its runs."""

_TABLES = """
SELECT c.relname::text AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, c.relkind::text AS kind,
       pg_get_userbyid(c.relowner)::text AS owner,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull)
       AS owned
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname = 'public'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
_INDEXES = """
SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS index, a.attname::text AS first
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indisunique AND n.nspname = 'public'
"""
_FOREIGN_KEYS = """
SELECT k.conname::text AS name, near.attname::text AS near, far.attname::text AS far
FROM pg_constraint k
JOIN pg_attribute near ON near.attrelid = k.conrelid AND near.attnum = k.conkey[1]
JOIN pg_attribute far ON far.attrelid = k.confrelid AND far.attnum = k.confkey[1]
WHERE k.contype = 'f'
"""
_POLICIES = "SELECT tablename::text, policyname::text, permissive, cmd, qual, with_check FROM pg_policies ORDER BY 1, 2"
_RIGHTS = """
SELECT c.relname::text AS table, array_agg(a.privilege_type::text ORDER BY 1) AS rights
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
WHERE n.nspname = 'public' AND a.grantee IN (0, $1::regrole) GROUP BY 1
"""


async def tables(catalog: asyncpg.Connection) -> Sequence[Any]:
    return [row for row in await catalog.fetch(_TABLES) if row["name"] not in NOT_TENANTS]


async def test_every_table_has_a_tenant_and_forced_row_level_security(catalog: asyncpg.Connection) -> None:
    found = await tables(catalog)
    assert len(found) >= 15
    assert [row["name"] for row in found if not (row["owned"] and row["enabled"] and row["forced"])] == []


async def test_there_is_nothing_but_plain_tables(catalog: asyncpg.Connection) -> None:
    # A view reads with its owner's rights and a materialised one knows no policies.
    assert {row["kind"] for row in await catalog.fetch(_TABLES)} == {"r"}


async def test_every_table_has_the_policy_of_own_rows_for_reading_and_writing(catalog: asyncpg.Connection) -> None:
    policies = {(row["tablename"], row["policyname"]): row for row in await catalog.fetch(_POLICIES)}
    for table in await tables(catalog):
        own = policies.pop((table["name"], "own_rows"))
        assert (own["cmd"], own["permissive"], own["qual"], own["with_check"]) == (
            ("ALL", "PERMISSIVE", OWN_ROWS, OWN_ROWS)
        ), table["name"]
    assert all(row["cmd"] == "SELECT" for row in policies.values())
    by_platform = {(table, "platform_reads"): only for table, only in READ_BY_PLATFORM.items()}
    assert {policy: row["qual"] for policy, row in policies.items()} == by_platform | READ_BY_ALL


async def test_every_unique_key_leads_with_the_tenant(catalog: asyncpg.Connection) -> None:
    found = [row for row in await catalog.fetch(_INDEXES) if row["table"] not in NOT_TENANTS]
    assert found
    assert [row["index"] for row in found if row["first"] != "tenant_id"] == []


async def test_every_table_has_a_primary_key(catalog: asyncpg.Connection) -> None:
    keyed = await catalog.fetch("SELECT indrelid::regclass::text AS name FROM pg_index WHERE indisprimary")
    assert {row["name"] for row in await tables(catalog)} <= {row["name"] for row in keyed}


async def test_every_foreign_key_leads_from_tenant_to_tenant(catalog: asyncpg.Connection) -> None:
    found = await catalog.fetch(_FOREIGN_KEYS)
    assert found
    assert [row["name"] for row in found if (row["near"], row["far"]) != ("tenant_id", "tenant_id")] == []


_REFERENCES = """
SELECT k.conrelid::regclass::text AS near, k.confrelid::regclass::text AS far
FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
"""


async def test_tables_can_be_emptied_one_after_the_other(catalog: asyncpg.Connection) -> None:
    """A tenant is erased table by table, those that refer to others first: two that refer to each other stop it."""
    left = {row["name"] for row in await tables(catalog)}
    references = {(row["near"], row["far"]) for row in await catalog.fetch(_REFERENCES)}
    assert references
    while left:
        free = {table for table in left if not any(far == table and near in left for near, far in references)}
        assert free, f"These tables refer to one another, so that erase_tenant_rows cannot empty them: {sorted(left)}"
        left -= free


async def test_the_application_has_no_more_rights_than_declared(catalog: asyncpg.Connection) -> None:
    granted = {row["table"]: set(row["rights"]) for row in await catalog.fetch(_RIGHTS, APP)}
    declared = {
        row["name"]: {"SELECT"}
        | (set() if row["name"] in WRITTEN_BY_FUNCTION else {"INSERT"})
        | ({"UPDATE"} if row["name"] in CHANGED_IN_PLACE else set())
        | ({"DELETE"} if row["name"] in DELETED_FROM else set())
        for row in await tables(catalog)
    }
    assert {name: rights for name, rights in granted.items() if name not in NOT_TENANTS} == declared
    assert granted.get("alembic_version", set()) <= {"SELECT"}


async def test_no_column_is_granted_by_itself(catalog: asyncpg.Connection) -> None:
    query = "SELECT attrelid::regclass::text FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384"
    assert await catalog.fetch(query) == []


async def test_the_applications_role_is_nobody(catalog: asyncpg.Connection) -> None:
    powers = "rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication"
    assert await catalog.fetchval(f"SELECT {powers} FROM pg_roles WHERE rolname = $1", APP) is False
    owned = "SELECT count(*) FROM pg_shdepend WHERE refobjid = $1::regrole AND deptype = 'o'"
    assert await catalog.fetchval(owned, APP) == 0
    assert await catalog.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole", APP) == 0


async def test_tables_belong_to_the_migrations_role_which_the_walls_hold_too(catalog: asyncpg.Connection) -> None:
    owners = {row["owner"] for row in await tables(catalog)}
    assert owners == {"taskforce_owner"}
    query = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = 'taskforce_owner'"
    assert await catalog.fetchval(query) is False


_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, pg_get_userbyid(p.proowner)::text AS owner, p.proconfig AS settings,
       (SELECT array_agg(a.grantee::regrole::text) FROM aclexplode(p.proacl) a) AS callers,
       p.prorettype = 'trigger'::regtype AS triggered
FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
"""


async def test_every_function_that_runs_with_its_owners_rights_is_declared(catalog: asyncpg.Connection) -> None:
    found = await catalog.fetch(_FUNCTIONS)
    assert {row["name"] for row in found} == set(OWNERS_FUNCTIONS)


async def test_such_a_function_is_the_applications_alone_and_cannot_be_led_astray(catalog: asyncpg.Connection) -> None:
    for row in await catalog.fetch(_FUNCTIONS):
        # Without rights of their own on it, all of PUBLIC may call it.
        # A trigger needs no right to fire; with one, the application could hang it on a table of its own.
        callers = {"taskforce_owner"} if row["triggered"] else {APP, "taskforce_owner"}
        assert set(row["callers"]) == callers, row["name"]
        # The migrations' role, which row-level security holds too; a caller's own tables and operators are not found.
        assert row["owner"] == "taskforce_owner"
        assert set(row["settings"]) - {"enable_seqscan=off"} == {"search_path=pg_catalog, pg_temp"}


async def test_no_function_of_ours_is_elsewhere(catalog: asyncpg.Connection) -> None:
    query = """
    SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname NOT IN ('public', 'pg_catalog', 'information_schema')
    """
    assert await catalog.fetch(query) == []
