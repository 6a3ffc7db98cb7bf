"""The log says what was asked: by its hash, and itself where the deployment wants that."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.audit.events import AuditEvent, AuditFilter
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.paging import Page
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.stack import DatabaseUrls
from tests.taskforce.application.scenario import Call, Stage

SECRET = "hunter2-hunter2"
MISSION = f"Log in with {SECRET} and count."
CALLS: tuple[Call, ...] = (("echo", {"text": 70707, "password": 7}), ("echo", "[broken"), ("echo", {"text": "y"}))


@pytest.fixture
async def keeping(postgres: DatabaseUrls, tenant: str) -> AsyncIterator[Stage]:
    """A deployment whose log keeps contents."""
    database = Database(postgres.app, pool_size=2, contents=ContentRules(included=True, secrets=(SECRET,)))
    yield Stage(database, tenant)
    await database.close()


async def told(stage: Stage) -> dict[str, Mapping[str, Any]]:
    """What the log says of a run's start, a word, two calls that are refused and one that runs, by hashes."""
    accepted = await stage.accepted(mission=MISSION, context={"größe": 1})
    await send_message(stage.database, stage.acting(), await stage.run(accepted.run_id), MessageDraft("Hurry."))
    await stage.reply(accepted.run_id, 1, *CALLS)
    await stage.tool_step.authorize(stage.tenant_id, accepted.run_id, 1)
    await stage.tool_step.run(stage.ref(accepted.run_id, 3), 1, (), None)
    async with stage.database.tenant(stage.tenant_id) as records:
        found = await records.audit.page(AuditFilter(), Page(100))
    wanted = [one.details for one in found if one.action in {"run.start", "run.message", "tool.call"}]
    assert len(wanted) == len(ASKED)
    return {str(details["content_sha256"]): details for details in wanted}


ASKED: tuple[Mapping[str, object], ...] = (
    {"mission": MISSION, "context": {"größe": 1}},
    {"text": "Hurry."},
    {"tool": "echo", "arguments": {"text": 70707, "password": 7}},
    {"tool": "echo", "arguments": "[broken"},
    {"tool": "echo", "arguments": {"text": "y"}},
)


async def test_by_its_hash_alone(stage: Stage) -> None:
    details = await told(stage)
    assert set(details) == {canonical_hash(one) for one in ASKED}
    assert [one for one in details.values() if "content" in one] == []
    everything = await stage.rows("audit_events", "to_jsonb(audit_events)::text")
    assert len(everything) == len(ASKED)
    assert [row for row in everything if any(word in str(row) for word in (SECRET, "Hurry", "70707", "broken"))] == []
    # A refusal quotes arguments to the model alone.
    assert "70707" in await stage.told(str(next(iter(await stage.rows("runs", "run_id")))[0]))
    reasons = await stage.rows("audit_events WHERE outcome = 'denied'", "reason")
    assert ("The arguments do not fit.",) in reasons


async def test_and_itself_without_secrets_where_the_deployment_wants_that(keeping: Stage) -> None:
    details = await told(keeping)
    assert [details[canonical_hash(one)]["content"] for one in ASKED] == [
        {"mission": "Log in with *** and count.", "context": {"größe": 1}},
        {"text": "Hurry."},
        {"tool": "echo", "arguments": {"text": 70707, "password": "***"}},
        {"tool": "echo", "arguments": "[broken"},
        {"tool": "echo", "arguments": {"text": "y"}},
    ]


async def test_a_reason_has_no_secrets_either(keeping: Stage) -> None:
    await keeping.person("alice")
    async with keeping.database.tenant(keeping.tenant_id) as records:
        told = AuditEvent(
            "vera", "approval.close", "approval", "r", "denied", keeping.now, reason=f"vera: it is {SECRET}"
        )
        await records.audit.append(told)
    assert await keeping.rows("audit_events", "reason") == [("vera: it is ***",)]


async def test_the_hash_of_a_call_is_that_of_its_approval(stage: Stage) -> None:
    run_id = await stage.asked(("pay", {"amount": 3}))
    request_id = new_id()
    request = await stage.decisions.open_call(stage.ref(run_id), request_id)
    await stage.tool_step.run(stage.ref(run_id), 1, (), None)
    async with stage.database.tenant(stage.tenant_id) as records:
        (call,) = await records.audit.page(AuditFilter(action="tool.call"), Page(10))
    assert call.details["content_sha256"] == request.content_hash


async def test_a_content_without_end_leaves_the_rest_of_its_event(keeping: Stage) -> None:
    accepted = await keeping.accepted(mission="😀" * 200_000, context={"notes": ["é" * 3_000] * 5})
    async with keeping.database.tenant(keeping.tenant_id) as records:
        (start,) = await records.audit.page(AuditFilter(action="run.start"), Page(10))
    assert start.details["session_id"] == accepted.session_id
    assert str(start.details["content"]).endswith("…")
    assert len(str(start.details["content_sha256"])) == 64
