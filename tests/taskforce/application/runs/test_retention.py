"""Retention of runs on a real database: what is old enough goes with all that hangs on it, and nothing else does."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
import structlog

from taskforce.application.runs import retention
from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.creation import create_run
from taskforce.application.runs.retention import erase_all_expired, erase_expired
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.records import HistoryEntry, RequestResult
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.paging import Page
from taskforce.core.domain.runs.records import Erased
from taskforce.core.domain.runs.run import FINAL, Ending, RunStatus
from taskforce.core.domain.tenants.tenant import Tenant, TenantSettings
from taskforce.core.interfaces.expired_rows import ExpiredKind
from taskforce.core.interfaces.identity import ResourceType
from taskforce.core.interfaces.llm import ModelCall
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories import runs as run_rows
from tests.fixtures.broken_tenant import Breaking
from tests.fixtures.expired_tenants import Among
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.application.scenario import NOW, Stage
from tests.taskforce.infrastructure.persistence.factories import request, spec, spending

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
DAYS = 30
DONE = Ending(RunStatus.COMPLETED)
KEPT = {"usage_records", "audit_events", "audit_unsealed", "tenant_deletions", "agent_versions"}
"""Tables with rows about runs that outlive them: ids and numbers that are paid for, and the log."""


class Raised(Among):
    """The setting of a tenant is raised right after it was told to have expired runs."""

    def __init__(self, stage: Stage, days: int) -> None:
        super().__init__(stage.database, stage.tenant_id)
        self._stage = stage
        self._days = days

    async def expired_tenants(self, kind: ExpiredKind, at: datetime) -> Sequence[Tenant]:
        found = await super().expired_tenants(kind, at)
        assert [one.tenant_id for one in found] == [self._stage.tenant_id]
        await keeping(self._stage, self._days)
        return found


@pytest.fixture
def other(database: Database, tenant: str) -> Stage:
    return Stage(database, f"{tenant}-other")


async def keeping(stage: Stage, days: int | None) -> Tenant:
    """The tenant keeps its runs for so long."""
    await stage.person("alice", "operator")
    async with stage.database.tenant(stage.tenant_id) as records:
        tenant = await records.tenant.locked()
        assert tenant is not None
        changed = replace(tenant, settings=TenantSettings(data_retention_days=days))
        await records.tenant.save(changed)
    return changed


async def ended(stage: Stage, at: datetime, **changes: object) -> str:
    """A run that ended at a time."""
    stage.now = at - SECOND
    run_id = (await stage.accepted(**changes)).run_id
    stage.now = at
    await stage.lifecycle.end(stage.tenant_id, run_id, DONE)
    stage.now = NOW
    return run_id


async def full(stage: Stage, at: datetime) -> str:
    """A run that ended at a time, with everything that may hang on one."""
    stage.now = at - SECOND
    run_id = (await stage.accepted(idempotency_key="key", session_id=f"{stage.tenant_id}:session-full")).run_id
    await send_message(stage.database, stage.acting(), await stage.run(run_id), MessageDraft("Go on.", "word"))
    asked = request(run_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.effects.begin(run_id, 1, 1, "pay", stage.now)
        await records.results.add(run_id, 1, 1, "long")
        await records.files.write(run_id, "notes.md", b"secret", stage.now)
        await records.usage.add(spending(run_id, ModelCall("openai/scripted", TokenCounts(7, 3), 20)))
        await records.requests.add(asked)
        decision = Decision("vera", Verdict.APPROVE, "fine", Channel.API, stage.now)
        await records.requests.decided(asked.approval.request_id, decision)
        await records.requests.propose(asked.approval.request_id, "hash", {"tool": "pay"}, "vera", stage.now)
        await records.requests.happened(asked.approval.request_id, HistoryEntry("x", "created", "alice", stage.now))
        await records.requests.close(asked.approval.request_id, ApprovalStatus.APPROVED, "vera", stage.now)
        came = RequestResult(asked.approval.request_id, "text/plain", "x.txt", stage.now, stage.now)
        await records.request_results.begin(came)
        await records.request_results.add(came, b"secret", {})
    stage.now = at
    await stage.lifecycle.end(stage.tenant_id, run_id, DONE)
    stage.now = NOW
    return run_id


async def sweep(stage: Stage, now: datetime = NOW) -> Erased:
    return await erase_expired(stage.database, stage.tenant_id, now)


async def left(stage: Stage) -> set[str]:
    return {str(run_id) for (run_id,) in await stage.rows("runs", "run_id")}


async def contents(stage: Stage, catalog: asyncpg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tenant, of every table that there is."""
    names = await catalog.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    tables = sorted(row["tablename"] for row in names if row["tablename"] != "alembic_version")
    return {name: await stage.rows(f"{name} ORDER BY {name}::text", "*") for name in tables}


@pytest.fixture
async def catalog(postgres: DatabaseUrls) -> Any:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    yield connection
    await connection.close()


async def test_an_old_run_goes_with_all_that_hangs_on_it_and_usage_stays(
    stage: Stage, other: Stage, catalog: asyncpg.Connection
) -> None:
    old = NOW - DAYS * DAY - SECOND
    for one in (stage, other):
        await keeping(one, DAYS)
        await full(one, old)
    before, theirs = await contents(stage, catalog), await contents(other, catalog)
    emptied = {name for name in before if before[name] and name not in {"tenants", "users", "rate_buckets"}} - KEPT
    # All but the tables of rights and of the log's chain: nothing that may hang on a run is left out here.
    hanging = await catalog.fetch(
        "SELECT DISTINCT table_name::text AS name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name IN ('run_id', 'request_id')"
    )
    # What a run has reserved on budgets is given back when it ends.
    hanging_on_it = {row["name"] for row in hanging} - {"budget_reservations"}
    assert emptied == hanging_on_it - KEPT | {"sessions", "stored_answers"}
    assert await sweep(stage) == Erased(1, 1, 1)
    after = await contents(stage, catalog)
    assert {name for name in before if after[name] != before[name]} == emptied | {"audit_events", "audit_unsealed"}
    assert [name for name in emptied if after[name]] == []
    assert len(after["audit_events"]) == len(before["audit_events"]) + 1
    assert await contents(other, catalog) == theirs


async def test_usage_holds_ids_and_numbers_only(catalog: asyncpg.Connection) -> None:
    rows = await catalog.fetch(
        "SELECT column_name::text AS name FROM information_schema.columns "
        "WHERE table_name = 'usage_records' AND data_type = 'text'"
    )
    # Names of people, agents, models, tools, departments, kinds. A text that is added here must be none of the run's.
    ids = {"tenant_id", "user_id", "agent_id", "session_id"}
    names = {"agent_version", "model", "provider", "tool", "department", "cost_center", "currency", "price_source"}
    assert {row["name"] for row in rows} == ids | names | {"kind", "error_code", "estimated"}


async def test_a_run_is_kept_to_the_second(stage: Stage) -> None:
    await keeping(stage, DAYS)
    kept = await ended(stage, NOW - DAYS * DAY)
    gone = await ended(stage, NOW - DAYS * DAY - timedelta(microseconds=1))
    assert await left(stage) == {kept, gone}
    assert (await sweep(stage)).runs == 1
    assert await left(stage) == {kept}
    assert (await sweep(stage, NOW + SECOND)).runs == 1


async def test_a_tenant_that_says_nothing_keeps_its_runs_for_ever(stage: Stage) -> None:
    await keeping(stage, None)
    run_id = await ended(stage, NOW - 9_999 * DAY)
    assert await sweep(stage) == Erased(0, 0, 0)
    assert await left(stage) == {run_id}


@pytest.mark.parametrize("status", sorted(RunStatus))
async def test_only_a_run_that_has_ended_goes(stage: Stage, status: RunStatus) -> None:
    await keeping(stage, DAYS)
    stage.now = NOW - 99 * DAY
    run_id = (await stage.accepted()).run_id
    async with stage.database.tenant(stage.tenant_id) as records:
        if status in FINAL:
            await records.runs.close(run_id, Ending(status), None, stage.now)
        elif status is not RunStatus.QUEUED:
            await records.runs.set_status(run_id, status, None)
    assert (await sweep(stage)).runs == (1 if status in FINAL else 0)


async def test_a_run_with_an_open_request_stays_until_it_is_closed(stage: Stage) -> None:
    await keeping(stage, DAYS)
    run_id = await ended(stage, NOW - 99 * DAY)
    asked = request(run_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.requests.add(asked)
    assert await sweep(stage) == Erased(0, 0, 0)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.requests.close(asked.approval.request_id, ApprovalStatus.EXPIRED, "late", NOW)
    assert await sweep(stage) == Erased(1, 1, 1)


async def test_a_session_goes_on_without_what_was_erased(stage: Stage) -> None:
    await keeping(stage, DAYS)
    session = {"session_id": f"{stage.tenant_id}:session-1"}
    for at in (NOW - 40 * DAY, NOW - 20 * DAY):
        await ended(stage, at, mission=f"Mission of {at:%d}", **session)
    assert await sweep(stage) == Erased(1, 0, 0)
    accepted = await stage.accepted(**session)
    assert accepted.spec is not None
    async with stage.database.tenant(stage.tenant_id) as records:
        (shown,) = await records.runs.exchanges(accepted.spec, 10)
        assert await records.runs.session_owner(session["session_id"]) == "alice"
    assert shown.mission == f"Mission of {NOW - 20 * DAY:%d}"


async def test_a_session_in_which_a_run_begins_at_this_moment_stays(stage: Stage) -> None:
    await keeping(stage, DAYS)
    session = f"{stage.tenant_id}:session-1"
    await ended(stage, NOW - 40 * DAY, session_id=session)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.runs.add(spec(stage.tenant_id, session_id=session))
        assert await sweep(stage) == Erased(1, 0, 0)
    assert await stage.rows("sessions", "session_id") == [(session,)]


async def test_a_session_of_which_nothing_was_left_begins_anew(stage: Stage) -> None:
    await keeping(stage, DAYS)
    session = {"session_id": f"{stage.tenant_id}:session-1"}
    await ended(stage, NOW - 40 * DAY, **session)
    grant = ResourceGrant("bob", "viewer", ResourceType.SESSION, session["session_id"])
    await stage.person("bob")
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.grant(grant, "tests", NOW)
    assert await sweep(stage) == Erased(1, 0, 1)
    for left in ([], [grant]):
        assert (await stage.accepted(**session)).session_id == session["session_id"]
        async with stage.database.tenant(stage.tenant_id) as records:
            assert await records.roles.grants("bob") == left
            await records.roles.grant(grant, "tests", NOW)


async def test_a_key_that_asked_for_an_erased_run_asks_for_a_new_one(stage: Stage) -> None:
    await keeping(stage, DAYS)
    old = await ended(stage, NOW - 40 * DAY, idempotency_key="mine")
    young = await ended(stage, NOW - 20 * DAY, idempotency_key="yours")
    assert (await sweep(stage)).runs == 1
    assert (await create_run(stage.database, stage.mission(idempotency_key="yours"))).run_id == young
    again = await create_run(stage.database, stage.mission(idempotency_key="mine"))
    assert not again.replayed
    assert again.run_id != old


async def test_batches_end_at_their_number_and_at_their_weight_the_oldest_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keeping(stage, DAYS)
    runs = [await ended(stage, NOW - (50 - number) * DAY) for number in range(7)]
    monkeypatch.setattr(retention, "ERASE_BATCH", 3)
    assert (await sweep(stage)).runs == 3
    assert await left(stage) == set(runs[3:])
    # Each run has two milestones: a second one begins below three, a third one does not.
    monkeypatch.setattr(run_rows, "ERASED_ROWS", 3)
    assert (await sweep(stage)).runs == 2
    assert await left(stage) == set(runs[5:])


@pytest.mark.parametrize("kind", ["file", "result"])
async def test_a_run_with_much_content_is_a_batch_of_its_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await keeping(stage, DAYS)
    runs = [await ended(stage, NOW - (50 - number) * DAY) for number in range(3)]
    content = random.Random(0).randbytes(200_000)
    async with stage.database.tenant(stage.tenant_id) as records:
        if kind == "file":
            await records.files.write(runs[0], "a.bin", content, NOW)
        else:
            await records.results.add(runs[0], 1, 1, content.hex())
    monkeypatch.setattr(run_rows, "ERASED_ROWS", 50)
    assert (await sweep(stage)).runs == 1
    assert await left(stage) == set(runs[1:])
    assert (await sweep(stage)).runs == 2


async def test_all_tenants_are_swept_in_turn_and_one_that_fails_does_not_hold_up_the_others(
    stage: Stage, other: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ERASE_BATCH", 2)
    broken, silent = Stage(stage.database, f"{stage.tenant_id}-x"), Stage(stage.database, f"{stage.tenant_id}-y")
    stages = (stage, other, broken, silent)
    for one in stages:
        await keeping(one, None if one is silent else DAYS)
    for one in stages:
        for number in range(3):
            await ended(one, NOW - (50 - number) * DAY)
    rows = Among(stage.database, *(one.tenant_id for one in stages))
    with structlog.testing.capture_logs() as logs:
        assert await erase_all_expired(rows, Breaking(stage.database, broken.tenant_id), NOW) == 6
    assert [len(await left(one)) for one in stages] == [0, 0, 3, 3]
    told = [(line["event"], line["tenant_id"], line.get("runs")) for line in logs if line["event"].startswith("runs.")]
    assert told == [
        ("runs.erased", stage.tenant_id, 2),
        ("runs.erased", other.tenant_id, 2),
        ("runs.not_erased", broken.tenant_id, None),
        ("runs.erased", stage.tenant_id, 1),
        ("runs.erased", other.tenant_id, 1),
    ]


async def test_what_was_erased_stands_in_the_log_and_nothing_is_told_of_nothing(stage: Stage) -> None:
    await keeping(stage, DAYS)
    await full(stage, NOW - 40 * DAY)
    for _ in range(2):
        await sweep(stage)
    async with stage.database.tenant(stage.tenant_id) as records:
        (told,) = await records.audit.page(AuditFilter(action="run.erase"), Page(10))
    assert (told.actor_id, told.resource_id, told.channel, told.at) == ("system", stage.tenant_id, "worker", NOW)
    cutoff = (NOW - DAYS * DAY).isoformat()
    assert told.details == {"runs": 1, "requests": 1, "sessions": 1, "ended_before": cutoff}


async def test_a_setting_that_was_raised_counts_at_once(stage: Stage) -> None:
    await keeping(stage, DAYS)
    await ended(stage, NOW - 40 * DAY)
    assert await erase_all_expired(Raised(stage, 41), stage.database, NOW) == 0


async def erase_by_hand(stage: Stage, ended_before: datetime, before: str = "SELECT 1") -> int:
    """What somebody may do who has the application's role."""
    async with stage.database.tenant(stage.tenant_id) as records:
        connection = records.users._connection
        await connection.value(sa.text(before))
        call = sa.text("SELECT runs FROM erase_ended_runs(:ended_before, 1000, 1000)")
        return int(await connection.value(call, {"ended_before": ended_before}))


async def test_the_owners_function_keeps_what_the_tenants_setting_keeps(stage: Stage) -> None:
    real = datetime.now(NOW.tzinfo)
    await keeping(stage, DAYS)
    run_id = await ended(stage, real - DAYS * DAY + timedelta(hours=2))
    assert await erase_by_hand(stage, real + 999 * DAY) == 0
    # Nor does it believe a run's row, which the application may change.
    assert await erase_by_hand(stage, real, "UPDATE runs SET finished_at = '2001-01-01'") == 0
    await keeping(stage, None)
    assert await erase_by_hand(stage, real + 999 * DAY) == 0
    assert await left(stage) == {run_id}


async def test_of_two_sweeps_at_once_one_erases_and_neither_waits(stage: Stage) -> None:
    await keeping(stage, DAYS)
    await ended(stage, NOW - 40 * DAY)
    async with stage.database.tenant(stage.tenant_id) as records:
        assert (await records.runs.erase(NOW - DAYS * DAY, 10)).runs == 1
        assert await sweep(stage) == Erased(0, 0, 0)
