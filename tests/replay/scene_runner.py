"""Where scenes are played whose histories are recorded, and how they are declared."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from taskforce.application.catalog.agents import Named, NewAgent, create_agent
from taskforce.application.catalog.publishing import Submission, submit_version
from taskforce.core.domain.approvals.approval import Verdict
from taskforce.core.domain.approvals.approval import workflow_id as approval_workflow_id
from taskforce.core.domain.approvals.submissions import SubmittedDecision
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import ANYTHING
from taskforce.core.domain.runs.run import workflow_id as run_workflow_id
from taskforce.core.domain.tenants.deletion import DeletionOrder
from tests.chaos.private_stack import OwnServers
from tests.fixtures.agents import GOOD, make_acting
from tests.fixtures.missions import Missions, now
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, held, text, tool_calls
from tests.fixtures.update_senders import Outsider

MODEL_CALLS, TOOL_CALLS = 3, 9
"""Of the worker on which scenes are played; a tenant alone has a third."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene plays on."""

    missions: Missions
    llm: ScriptedLLM
    temporal: Client
    servers: OwnServers

    @property
    def outsider(self) -> Outsider:
        """Somebody who reaches Temporal past the gateway."""
        return Outsider(self.temporal, self.missions.tenant_id)

    async def thinks(self, first: Reply, *others: Reply) -> tuple[str, asyncio.Event]:
        """Starts a run whose model is being asked; returns it, and the event with which the first reply comes."""
        replied = asyncio.Event()
        self.llm.requests.clear()
        self.llm.script([held(first, replied), *others])
        run_id = await self.missions.start()
        await self.llm.until(lambda llm: len(llm.requests) > 0)
        return run_id, replied

    async def asks_to_pay(self, **terms: object) -> tuple[str, str]:
        """Starts a run that waits for an approval; returns run and request."""
        self.llm.script([tool_calls([("pay", {"amount": 7})], says="I must pay."), text("So be it.")])
        run_id = await self.missions.under(**terms).start()
        event = await self.missions.event(run_id, "approval.requested")
        return run_id, str(event.data["request_id"])

    async def asks_to_publish(self, expire_seconds: int = 3_600) -> str:
        """Submits a new agent's version, for which a request waits; returns the request."""
        missions = self.missions
        actor = await make_acting(missions.database, missions.tenant_id, "dora", now(), "agent_designer")
        agent = await create_agent(missions.database, actor, NewAgent(f"Agent {uuid4().hex}", GOOD))
        asked = Submission("0.1.0", ANYTHING, Terms(signal_channel=True, expire_seconds=expire_seconds))
        _, request = await submit_version(missions.database, actor, Named(agent.agent_id), asked)
        await missions.workflow_client.approvals.start(missions.tenant_id, request)
        return request.approval.request_id

    async def decide(self, request_id: str, approver: str, verdict: Literal["approve", "reject"], **more: Any) -> None:
        said = SubmittedDecision(approver, Verdict(verdict), "as recorded", **more)
        await self.missions.workflow_client.approvals.decide(self.missions.tenant_id, request_id, said)

    async def signal(self, request_id: str, signal: str, *payload: object) -> None:
        name = approval_workflow_id(self.missions.tenant_id, request_id)
        await self.temporal.get_workflow_handle(name).signal(signal, args=list(payload))

    async def closes(self, workflow_id: str) -> None:
        """Waits until a workflow has closed."""
        handle = self.temporal.get_workflow_handle(workflow_id)
        async with asyncio.timeout(60):
            while (await handle.describe()).close_time is None:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)

    def of_tenant(self, name: str) -> Missions:
        """The missions of another tenant, which may go without the others' scenes."""
        return Missions(self.missions.database, self.missions.workflow_client, name)

    async def deletes(self, missions: Missions, seconds: int | None = None) -> None:
        """Has a tenant deleted, its runs cancelled at once or drained."""
        home, at = "platform", now()
        until = None if seconds is None else at + timedelta(seconds=seconds)
        await missions.database.register_tenant(home, at)
        async with missions.database.tenant(home) as records:
            await records.deletions.begin(DeletionOrder(missions.tenant_id, "pia", at, None, until))
        await missions.workflow_client.tenants.start_deletion(missions.tenant_id)

    async def falls_back(self, run_id: str, activity: str) -> None:
        """Waits until a local activity has given up and runs as a regular one."""
        await self.begins(run_workflow_id(self.missions.tenant_id, run_id), activity)

    async def says_in_its_history(self, run_id: str, said: bytes) -> None:
        """Waits until an event of a run's history holds a text."""
        handle = self.temporal.get_workflow_handle(run_workflow_id(self.missions.tenant_id, run_id))
        async with asyncio.timeout(60):
            while True:
                if any(said in event.SerializeToString() for event in (await handle.fetch_history()).events):
                    return
                await asyncio.sleep(0.05)

    async def stops_an_activity(self, run_id: str) -> None:
        """Waits until a run's workflow has asked an activity to stop."""
        handle = self.temporal.get_workflow_handle(run_workflow_id(self.missions.tenant_id, run_id))
        asked = EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED
        async with asyncio.timeout(60):
            while not any(event.event_type == asked for event in (await handle.fetch_history()).events):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def begins(self, workflow_id: str, activity: str) -> None:
        """Waits until a workflow has scheduled an activity."""
        handle = self.temporal.get_workflow_handle(workflow_id)
        async with asyncio.timeout(60):
            while True:
                events = (await handle.fetch_history()).events
                scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
                if activity in scheduled:
                    return
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Scene:
    """One way to end.

    Attributes:
        play: Plays it to its end; returns the run, or the tenant that was deleted.
        run: Name of the run's history, None when only the approval matters.
        approval: Name of the history of its approval, None without one.
        deletion: Name of the history of a tenant's deletion, None without one.
        alone: No run waits for the approval; the play returns the request.
    """

    play: Callable[[Stage], Awaitable[str]]
    run: str | None
    approval: str | None
    deletion: str | None = None
    alone: bool = False


SCENES: list[Scene] = []

Play = Callable[[Stage], Awaitable[str]]


def scene(
    *, run: str | None = None, approval: str | None = None, deletion: str | None = None, alone: bool = False
) -> Callable[[Play], Play]:
    """Declares a scene and under which names its histories are kept."""

    def declare(play: Play) -> Play:
        SCENES.append(Scene(play, run, approval, deletion, alone))
        return play

    return declare


def echoes(*words: str) -> Reply:
    return tool_calls([("echo", {"text": word}) for word in words])
