"""Rows of lists, made by PostgreSQL itself: as many as wanted, of one tenant, in every state that a filter names.

Half of the runs are one service account's and half of them one agent's, which never fails: what is common by itself
and rare together is where a list without the right index reads on and on.
"""

from collections.abc import Mapping

import asyncpg

ROBOT, ROBOTS_AGENT, PERSON, AGENT, SESSION = "robot", "agent-robot", "user-7", "agent-7", "session-7"
KEY = "00000000-0000-7000-8000-00000000000a"
WEBHOOK = "00000000-0000-7000-8000-00000000000b"
SINCE = "'2026-01-01T00:00:00Z'::timestamptz"

_USERS = f"""
INSERT INTO users (tenant_id, user_id, username, active, granted_roles, claimed_roles, attributes, created_at,
                   updated_at, kind, lent_roles)
SELECT $1::text, CASE n WHEN 0 THEN '{ROBOT}' ELSE 'user-' || n END, 'u', n % 50 <> 9, '{{}}', '{{}}', '{{}}', {SINCE},
       {SINCE}, CASE WHEN n % 50 = 0 THEN 'service' ELSE 'person' END, '{{}}'
FROM generate_series(0, greatest($2::integer / 2, 100)) n
"""
_SESSIONS = f"""
INSERT INTO sessions (tenant_id, session_id, user_id, created_at)
SELECT $1::text, 'session-' || n, 'user-1', {SINCE} FROM generate_series(0, $2::integer / 10) n
"""
# Of 200 runs one has failed, one was cancelled, and one is open; all those of the service account are completed.
_RUNS = f"""
INSERT INTO runs (tenant_id, run_id, session_id, user_id, profile, agent_id, agent, mission, context, max_steps,
                  max_tokens, max_seconds, status, steps, tool_calls, input_tokens, output_tokens, cached_tokens,
                  wasted_tokens, event_seq, created_at, finished_at, answer, questions, key_id)
SELECT $1::text, gen_random_uuid(), 'session-' || n / 10,
       CASE WHEN n % 2 = 0 THEN '{ROBOT}' ELSE 'user-' || n / 2 % 49 END, 'dev',
       CASE WHEN n % 4 < 2 THEN '{ROBOTS_AGENT}' ELSE 'agent-' || n / 4 % 50 END,
       jsonb_build_object('agent_id', 'agent', 'name', 'agent', 'system_prompt', repeat('Be kind. ', 40),
                          'tools', '[]'::jsonb, 'models', '[]'::jsonb),
       'What is six times seven?', '{{}}', 30, 100000, 600,
       CASE WHEN n % 4 < 2 THEN 'completed' WHEN n % 200 = 3 THEN 'failed' WHEN n % 200 = 7 THEN 'cancelled'
            WHEN n % 200 = 11 THEN (ARRAY['queued', 'running', 'waiting', 'paused'])[1 + n / 200 % 4]
            WHEN n % 200 = 15 THEN 'incomplete' ELSE 'completed' END,
       $3::integer, $3::integer, 100, 100, 0, 0, $3::integer, {SINCE} + n / 3 * interval '1 second', {SINCE},
       'Forty-two.', '[]', NULL
FROM generate_series(1, $2::integer) n
"""
_STEPS = f"""
INSERT INTO transcript (tenant_id, run_id, step, call, kind, text, data, at)
SELECT $1::text, run_id, step, 0, 'reply', 'I look it up in the table of results.', '{{"tool_calls": []}}', {SINCE}
FROM runs, generate_series(1, $3::integer) step WHERE tenant_id = $1::text AND $2::integer > 0
"""
_APPROVALS = f"""
INSERT INTO approvals (tenant_id, request_id, run_id, step, call, request_type, resource_type, resource_id,
                       requester_id, title, payload, content_hash, terms, status, opened_at, description,
                       current_hash, for_run, roles, people, acted)
SELECT $1::text, gen_random_uuid(), NULL, 0, 0, CASE WHEN n % 100 = 1 THEN 'data_export' ELSE 'agent_publish' END,
       'agent', 'agent', CASE WHEN n % 2 = 0 THEN '{ROBOT}' ELSE 'user-' || n / 2 % 49 END, 't', '{{}}', 'h',
       '{{"allowed_roles": ["approver"]}}',
       CASE WHEN n % 2 = 0 THEN 'approved' WHEN n % 100 = 1 THEN 'pending' WHEN n % 100 = 3 THEN 'rejected'
            WHEN n % 100 = 5 THEN 'expired' WHEN n % 100 = 7 THEN 'withdrawn' ELSE 'approved' END,
       {SINCE} + n / 3 * interval '1 second', '', 'h', false, ARRAY['approver'], '{{}}', 0
FROM generate_series(1, $2::integer) n
"""
_DECISIONS = f"""
INSERT INTO approval_decisions (tenant_id, request_id, approver_id, verdict, comment, channel, at, content_hash)
SELECT tenant_id, request_id, '{ROBOT}', 'approve', '', 'api', opened_at, 'h' FROM approvals
WHERE tenant_id = $1::text AND status = 'approved' AND $2::integer > 0
"""
_READERS = """
INSERT INTO approval_readers (tenant_id, reader, status, opened_at, request_id, request_type, requester_id)
SELECT tenant_id, unnest(ARRAY['requester:' || requester_id, 'role:approver']), status, opened_at, request_id,
       request_type, requester_id
FROM approvals WHERE tenant_id = $1::text AND $2::integer > 0
"""
_EVENTS = f"""
INSERT INTO audit_events (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details,
                          at, key_id)
SELECT $1::text, gen_random_uuid(), CASE WHEN n % 100 = 3 THEN '{PERSON}' ELSE 'agent:assistant' END, 'worker',
       CASE WHEN n % 100 = 3 THEN 'role.create' ELSE 'tool.call' END, CASE WHEN n % 100 = 3 THEN 'role' ELSE 'tool' END,
       CASE WHEN n % 100 = 3 THEN 'auditor' ELSE 'echo' END, CASE WHEN n % 100 = 5 THEN 'denied' ELSE 'allowed' END,
       '{{}}', {SINCE} + n / 3 * interval '1 second', CASE WHEN n % 100 = 3 THEN '{KEY}'::uuid END
FROM generate_series(1, $2::integer) n
"""
_KEYS = f"""
INSERT INTO api_keys (tenant_id, key_id, user_id, name, prefix, hash, roles, metadata, created_by, created_at,
                      expires_at)
SELECT $1::text, gen_random_uuid(), '{ROBOT}', 'ci', 'tf_', md5($1::text || n) || md5(n::text), '{{}}', '{{}}', 'ada',
       {SINCE} + n * interval '1 second', {SINCE}
FROM generate_series(1, greatest($2::integer / 4, 100)) n
"""
_DELIVERIES = f"""
INSERT INTO webhook_deliveries (tenant_id, delivery_id, webhook_id, event_id, event, subject, at, created_at, status)
SELECT $1::text, gen_random_uuid(), CASE WHEN n % 20 = 0 THEN '{WEBHOOK}'::uuid ELSE '{KEY}'::uuid END,
       gen_random_uuid(), 'run.finished', '{{}}', {SINCE}, {SINCE} + n / 3 * interval '1 second', 'delivered'
FROM generate_series(1, $2::integer) n
"""
_ATTEMPTS = """
INSERT INTO webhook_attempts (tenant_id, delivery_id, number, at, http_status, error, excerpt, duration_ms)
SELECT tenant_id, delivery_id, 1, at, 200, NULL, '', 20 FROM webhook_deliveries
WHERE tenant_id = $1::text AND $2::integer > 0
"""
_STATEMENTS: Mapping[str, str] = {
    "users": _USERS,
    "sessions": _SESSIONS,
    "runs": _RUNS,
    "transcript": _STEPS,
    "approvals": _APPROVALS,
    "approval_readers": _READERS,
    "approval_decisions": _DECISIONS,
    "audit_events": _EVENTS,
    "api_keys": _KEYS,
    "webhook_deliveries": _DELIVERIES,
    "webhook_attempts": _ATTEMPTS,
}
TABLES = tuple(_STATEMENTS)


async def fill(
    admin: "asyncpg.Connection[asyncpg.Record]", tenant: str, rows: int, steps: int = 0, *, analyze: bool = True
) -> None:
    """Adds rows to each table of `TABLES`, and lets the planner know of them.

    Args:
        admin: A connection of the superuser: the application may neither analyse nor leave foreign keys unchecked.
        tenant: A registered tenant without such rows.
        rows: Runs, requests, events and deliveries; of users and keys there are fewer.
        steps: Entries of each run's transcript.
        analyze: Whether the planner is told now; not for one of many tenants, where the last one's call tells of all.
    """
    async with admin.transaction():
        # Checked row by row, foreign keys would take longer than all the rest.
        await admin.execute("SET LOCAL session_replication_role = replica")
        for statement in _STATEMENTS.values():
            wanted = [tenant, rows, steps]
            # A parameter that a statement does not name is an error.
            await admin.execute(statement, *wanted[: 3 if "$3" in statement else 2])
    for table in TABLES if analyze else ():
        await admin.execute(f"VACUUM ANALYZE {table}")


async def clear(admin: "asyncpg.Connection[asyncpg.Record]", tenant: str) -> None:
    """Removes what `fill` has added."""
    async with admin.transaction():
        await admin.execute("SET LOCAL session_replication_role = replica")
        for table in TABLES:
            await admin.execute(f"DELETE FROM {table} WHERE tenant_id = $1", tenant)
