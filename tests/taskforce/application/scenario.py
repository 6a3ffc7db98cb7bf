"""One tenant with a run, and the use cases on a real database, without Temporal."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from taskforce.application.approvals.decisions import RecordedDecision
from taskforce.application.identity.principals import Actor, resolve_principal
from taskforce.application.runs.creation import AcceptedRun, NewRun, create_run
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.step_cache import Conversations
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.approvals.approval import ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.runs.records import Event
from taskforce.core.domain.runs.run import AgentDefinition, Limits, Run
from taskforce.core.domain.runs.transcript import Entry, EntryKind
from taskforce.core.interfaces.identity import Identity, Permission
from taskforce.core.interfaces.llm import ChatModel, ModelReply, ModelRequest, RequestedCall
from taskforce.core.interfaces.workflows import Forgotten
from taskforce.infrastructure.composition import Foundation, use_cases, worker_use_cases
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.tools.registry import ToolRegistry
from tests.fixtures import probe_tools
from tests.fixtures.actors import acting

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
CLAIMS_AGE = timedelta(hours=24)
RULES = AccessRules(CLAIMS_AGE)
TOOLS = ToolRegistry([*ToolRegistry.discover().tools, *probe_tools.TOOLS])
AGENT = AgentDefinition(
    agent_id="assistant",
    name="Assistant",
    system_prompt="You are a test.",
    tools=None,
    models=("openai/scripted",),
    approval=Terms(allowed_roles=("admin",)),
)

Call = tuple[str, Mapping[str, object] | str]


@dataclass
class Watchers:
    """Who watches: keeps what it is told."""

    words: list[tuple[str, str, int, int, str]] = field(default_factory=list)
    told: set[tuple[str, str]] = field(default_factory=set)

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None:
        self.words.append((tenant_id, run_id, step, attempt, text))

    def changed(self, tenant_id: str, run_id: str) -> None:
        self.told.add((tenant_id, run_id))


@dataclass
class Workflows:
    """Where the workflows of runs would be: keeps what it is told, and may refuse."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    refusal: DomainError | None = None

    async def signal(self, tenant_id: str, run_id: str, signal: str, *arguments: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.told.append((tenant_id, run_id, signal, *arguments))

    async def terminate(self, tenant_id: str, run_id: str) -> None:
        raise AssertionError("No run is stuck here.")

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        await self.signal(tenant_id, run_id, "cancel")

    async def forget(self, tenant_id: str) -> Forgotten:
        del tenant_id
        return Forgotten(0, 0)


class NoModel:
    """Where a model would be, in tests that ask none."""

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        raise AssertionError("This test asks no model.")


class Stage:
    """A tenant in a test; `now` is the time."""

    def __init__(self, database: Database, tenant_id: str) -> None:
        self.database = database
        self.tenant_id = tenant_id
        self.now = NOW
        self.live = Watchers()
        self.workflows = Workflows()
        foundation = Foundation(database, self.live, self.clock, RULES, tools=TOOLS)
        every = use_cases(foundation)
        own = worker_use_cases(
            foundation,
            every,
            model=NoModel(),
            tools=TOOLS,
            http=GuardedHttp(),
            runs=self.workflows,
            histories=self.workflows,
        )
        self.run_cache, self.lifecycle, self.decisions = every.run_cache, every.lifecycle, every.decisions
        self.prices, self.budgets, self.books = every.prices, every.budgets, every.budget_books
        self.tool_call_policy, self.tool_step, self.execution = own.tool_call_policy, own.tool_step, own.execution

    def clock(self) -> datetime:
        return self.now

    def model_step(self, model: ChatModel, conversations: Conversations | None = None) -> ModelStep:
        """The model step of another process; of this one where it is given its conversations."""
        return ModelStep(
            self.database,
            self.run_cache,
            self.tool_call_policy,
            model=model,
            tools=TOOLS,
            live=self.live,
            clock=self.clock,
            prices=self.prices,
            budgets=self.budgets,
            conversations=conversations,
        )

    def identity(self, user_id: str, *roles: str, issued_at: datetime | None = None) -> Identity:
        issued = issued_at or self.now
        return Identity(
            user_id=user_id,
            tenant_id=self.tenant_id,
            username=user_id,
            email=None,
            roles=frozenset(roles),
            issuer="tests",
            issued_at=issued,
            expires_at=issued + timedelta(hours=1),
        )

    async def person(self, user_id: str, *roles: str) -> UserRecord:
        return (
            await resolve_principal(self.database, self.database, self.identity(user_id, *roles), RULES, self.now)
        ).user

    async def deactivate(self, user_id: str) -> None:
        async with self.database.tenant(self.tenant_id) as records:
            user = await records.users.locked(user_id)
            assert user is not None
            await records.users.save(replace(user, active=False), self.now)

    def acting(self, user_id: str = "alice", held: frozenset[Permission] = frozenset(), **principal: Any) -> Actor:
        """Somebody of the tenant who comes to the gateway now."""
        return acting(self.tenant_id, user_id, self.now, held, **principal)

    def mission(self, **changes: object) -> NewRun:
        asked = NewRun(
            self.acting(),
            mission="Count.",
            agent=AGENT,
            profile="dev",
            limits=Limits(),
            context={},
            session_id=None,
            idempotency_key=None,
            body={"mission": "Count."},
        )
        return replace(asked, **changes)  # type: ignore[arg-type]  # each test names what it is about

    async def accepted(self, **changes: object) -> AcceptedRun:
        await self.person("alice", "operator")
        return await create_run(self.database, self.mission(**changes))

    async def asked(self, *calls: Call, agent: AgentDefinition = AGENT) -> str:
        """A run in whose first step the model asks for these calls."""
        run_id = (await self.accepted(agent=agent)).run_id
        await self.reply(run_id, 1, *calls)
        return run_id

    async def reply(self, run_id: str, step: int, *calls: Call) -> None:
        requested = tuple(
            RequestedCall(f"call_{number}", name, given if isinstance(given, str) else json.dumps(given))
            for number, (name, given) in enumerate(calls)
        )
        entry = Entry(step, 0, EntryKind.REPLY, "Let me see.", self.now, tool_calls=requested)
        async with self.database.tenant(self.tenant_id) as records:
            await records.transcripts.append(run_id, entry)

    def ref(self, run_id: str, call: int = 1, step: int = 1) -> CallRef:
        return CallRef(self.tenant_id, run_id, step, call)

    async def run(self, run_id: str) -> Run:
        async with self.database.tenant(self.tenant_id) as records:
            run = await records.runs.get(run_id)
        assert run is not None
        return run

    async def observed(self, run_id: str, call: int = 1, step: int = 1) -> Entry | None:
        async with self.database.tenant(self.tenant_id) as records:
            return await records.transcripts.entry(run_id, step, call)

    async def told(self, run_id: str, call: int = 1, step: int = 1) -> str:
        entry = await self.observed(run_id, call, step)
        assert entry is not None
        return entry.text

    async def events(self, run_id: str) -> list[Event]:
        async with self.database.tenant(self.tenant_id) as records:
            return list(await records.events.after(run_id, 0, 1_000))

    async def rows(self, table: str, columns: str) -> list[tuple[object, ...]]:
        """What a table of this tenant holds, in the order of its making."""
        async with self.database.tenant(self.tenant_id) as records:
            found = await records.users._connection.all(sa.text(f"SELECT {columns} FROM {table}"))
            return [tuple(row) for row in found]

    async def approve(self, request_id: str) -> None:
        """Has bob's word recorded, and the request ended as approved."""
        word = Decision("bob", Verdict.APPROVE, "fine", Channel.API, self.now)
        await self.decisions.record(self.tenant_id, request_id, RecordedDecision(word))
        await self.decisions.close(self.tenant_id, request_id, ApprovalStatus.APPROVED, "bob: fine")

    async def audited(self, action: str) -> list[tuple[object, ...]]:
        rows = await self.rows("audit_events ORDER BY at, audit_id", "action, actor_id, outcome, reason")
        return [row[1:] for row in rows if row[0] == action]
