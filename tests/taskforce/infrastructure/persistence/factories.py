"""Rows to test with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.usage import UsageEntry
from taskforce.core.domain.runs.run import AgentDefinition, Limits, RunSpec
from taskforce.core.interfaces.llm import ModelCall
from taskforce.infrastructure.persistence.database import Database

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NASTY = "NUL \x00, lone \ud800 and \udfff, pair 😀, marks e\u0301, RTL \u202e, quote ' \" \\, 100 % {x} :y $1"
"""What a model or a person may well write, and PostgreSQL's text cannot hold all of."""
STORED = NASTY.replace("\x00", "\ufffd").replace("\ud800", "?").replace("\udfff", "?")

AGENT = AgentDefinition(
    agent_id="assistant",
    name="Assistant",
    system_prompt="You are a test.",
    tools=None,
    models=("openai/scripted", "openai/second"),
    temperature=0.5,
    require_approval=("echo",),
    approval=Terms(required_approvers=2, allowed_roles=("admin", "auditor")),
)


def spec(tenant_id: str, **changes: Any) -> RunSpec:
    """A run that is asked for."""
    asked = RunSpec(
        tenant_id=tenant_id,
        run_id=new_id(),
        session_id=f"{tenant_id}:session-1",
        user_id="alice",
        profile="dev",
        agent=AGENT,
        mission="Count.",
        context={"größe": [1, None, {"a": 1.5}]},
        limits=Limits(7, 700, 70),
        created_at=NOW,
    )
    return replace(asked, **changes)


async def settled(database: Database, tenant_id: str, *user_ids: str) -> None:
    """Makes the tenant and its people."""
    await database.register_tenant(tenant_id, NOW)
    async with database.tenant(tenant_id) as records:
        for user_id in user_ids or ("alice",):
            await records.users.save(UserRecord(tenant_id, user_id, user_id), NOW)


async def queued(database: Database, tenant_id: str, **changes: Any) -> RunSpec:
    """Makes the tenant, its people and a run."""
    asked = spec(tenant_id, **changes)
    await settled(database, tenant_id, asked.user_id)
    async with database.tenant(tenant_id) as records:
        await records.runs.add(asked)
    return asked


def request(run_id: str, **changes: Any) -> Request:
    """A request for approval."""
    payload = {"tool": "pay", "arguments": {"amount": 3}}
    bound = canonical_hash(payload)
    asked = Request(
        approval=Approval(new_id(), "alice", Terms(expire_seconds=90, signal_channel=True), NOW, content=bound),
        run_id=run_id,
        step=1,
        call=1,
        request_type="tool_call",
        resource_type="tool",
        resource_id="pay",
        title="Assistant wants to call pay",
        payload=payload,
        content_hash=bound,
    )
    return replace(asked, **changes)


def spending(run_id: str, *calls: ModelCall, **changes: Any) -> UsageEntry:
    """What a step used."""
    spent = UsageEntry(
        run_id=run_id, step=1, call=0, attempt=1, user_id="alice", agent_id="assistant", at=NOW, calls=calls
    )
    return replace(spent, **changes)
