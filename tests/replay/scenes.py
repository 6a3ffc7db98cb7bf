"""Every way in which a workflow ends, played on real parts so that its history can be recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from temporalio.client import Client

from models.messages.approvals import DecisionInput
from taskforce.application.agents import Named, NewAgent, create_agent
from taskforce.application.publishing import Submission, submit_version
from taskforce.core.domain.agent_definitions import ANYTHING
from taskforce.core.domain.approvals import Terms
from taskforce.core.domain.approvals import workflow_id as approval_workflow_id
from taskforce.core.domain.runs import Limits
from taskforce.core.domain.runs import workflow_id as run_workflow_id
from tests.chaos.composition import OwnServers
from tests.fixtures.agents import GOOD, make_acting
from tests.fixtures.runs import Missions, now
from tests.fixtures.scripted_llm import Reply, ScriptedLLM, hang, status, text, tool_calls


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene plays on."""

    missions: Missions
    llm: ScriptedLLM
    temporal: Client
    servers: OwnServers

    async def asks_to_pay(self, **terms: object) -> tuple[str, str]:
        """Starts a run that waits for an approval; returns run and request."""
        self.llm.script([tool_calls([("pay", {"amount": 7})], says="I must pay."), text("So be it.")])
        run_id = await self.missions.under(**terms).start()
        event = await self.missions.event(run_id, "approval.requested")
        return run_id, str(event.data["request_id"])

    async def asks_to_publish(self, expire_seconds: int = 3_600) -> str:
        """Submits a new agent's version, for which a filed request waits; returns the request."""
        missions = self.missions
        acting = await make_acting(missions.database, missions.tenant_id, "dora", now(), "agent_designer")
        agent = await create_agent(missions.database, acting, NewAgent(f"Agent {uuid4().hex}", GOOD))
        asked = Submission("0.1.0", ANYTHING, Terms(signal_channel=True, expire_seconds=expire_seconds))
        _, request = await submit_version(missions.database, acting, Named(agent.agent_id), asked)
        await missions.door.start_request(missions.tenant_id, request)
        return request.approval.request_id

    async def closed(self, request_id: str) -> None:
        """Waits until what follows a request's end is done."""
        async with asyncio.timeout(30):
            while (await self.missions.request(request_id)).closed_at is None:  # noqa: ASYNC110 - it is a row
                await asyncio.sleep(0.05)

    async def decide(self, request_id: str, approver: str, verdict: Literal["approve", "reject"]) -> None:
        said = DecisionInput(approver_id=approver, verdict=verdict, comment="as recorded")
        await self.missions.door.decide(self.missions.tenant_id, request_id, said)

    async def signal(self, request_id: str, signal: str, *payload: object) -> None:
        name = approval_workflow_id(self.missions.tenant_id, request_id)
        await self.temporal.get_workflow_handle(name).signal(signal, args=list(payload))

    async def falls_back(self, run_id: str, activity: str) -> None:
        """Waits until a local activity has given up and runs as a regular one."""
        handle = self.temporal.get_workflow_handle(run_workflow_id(self.missions.tenant_id, run_id))
        async with asyncio.timeout(30):
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
        play: Plays it to its end; returns the run, or the request when it is filed.
        run: Name of the run's history, None when only the approval matters.
        approval: Name of the history of its approval, None without one.
        filed: Whether its request is filed, and no run waits for it.
    """

    play: Callable[[Stage], Awaitable[str]]
    run: str | None
    approval: str | None
    filed: bool = False


SCENES: list[Scene] = []

Play = Callable[[Stage], Awaitable[str]]


def scene(*, run: str | None = None, approval: str | None = None, filed: bool = False) -> Callable[[Play], Play]:
    """Declares a scene and under which names its histories are kept."""

    def declare(play: Play) -> Play:
        SCENES.append(Scene(play, run, approval, filed))
        return play

    return declare


def echoes(*words: str) -> Reply:
    return tool_calls([("echo", {"text": word}) for word in words])


@scene(run="completed")
async def completed(stage: Stage) -> str:
    stage.llm.script([tool_calls([("calculator", {"expression": "6*7"})]), text("42.")])
    return (await stage.missions.finish("What is six times seven?")).brief.run_id


@scene(run="tools_in_parallel")
async def tools_in_parallel(stage: Stage) -> str:
    plan = {"items": [{"text": "count", "status": "done"}]}
    calls: list[tuple[str, Mapping[str, object]]] = [
        ("echo", {"text": "one"}),
        ("echo_slowly", {"text": "two"}),
        ("no_such_tool", {}),
        ("todo_write", plan),
    ]
    stage.llm.script([tool_calls(calls), tool_calls([("echo_slowly", {"text": "three"})] * 3), text("Done.")])
    return (await stage.missions.finish()).brief.run_id


@scene(run="incomplete_by_steps")
async def incomplete_by_steps(stage: Stage) -> str:
    stage.llm.script([echoes("a"), echoes("b"), text("As far as I got.")])
    return (await stage.missions.finish(limits=Limits(max_steps=2))).brief.run_id


@scene(run="incomplete_by_tokens")
async def incomplete_by_tokens(stage: Stage) -> str:
    stage.llm.script([echoes("a")])
    return (await stage.missions.finish(limits=Limits(max_tokens=25))).brief.run_id


@scene(run="incomplete_by_time")
async def incomplete_by_time(stage: Stage) -> str:
    stage.llm.reply = lambda _: status(503)
    return (await stage.missions.finish(limits=Limits(max_seconds=2))).brief.run_id


@scene(run="model_retried")
async def model_retried(stage: Stage) -> str:
    stage.llm.script([status(500), text("Back again.")])
    return (await stage.missions.finish()).brief.run_id


@scene(run="failed")
async def failed(stage: Stage) -> str:
    stage.llm.script([echoes("a"), status(401)])
    return (await stage.missions.finish()).brief.run_id


@scene(run="cancelled")
async def cancelled(stage: Stage) -> str:
    stage.llm.script([hang("Thinking")])
    stage.llm.requests.clear()
    run_id = await stage.missions.start()
    await stage.llm.until(lambda llm: len(llm.requests) > 0)
    await stage.missions.door.cancel_run(stage.missions.tenant_id, run_id)
    return (await stage.missions.ended(run_id)).brief.run_id


@scene(run="paused_and_resumed")
async def paused_and_resumed(stage: Stage) -> str:
    missions = stage.missions
    stage.llm.script([echoes("a"), text("Heard.")])
    run_id = await missions.start()
    await missions.door.signal_run(missions.tenant_id, run_id, "pause")
    await missions.event(run_id, "run.paused")
    await missions.say(run_id, "Mind the gap.")
    await missions.door.signal_run(missions.tenant_id, run_id, "resume")
    await missions.ended(run_id)
    return run_id


@scene(run="asked_a_person")
async def asked_a_person(stage: Stage) -> str:
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await stage.missions.start()
    await stage.missions.event(run_id, "run.waiting")
    await stage.missions.say(run_id, "Blue.")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="approved", approval="approved")
async def approved(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="rejected", approval="rejected")
async def rejected(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.decide(request_id, "bob", "reject")
    await stage.missions.ended(run_id)
    return run_id


@scene(run="expired", approval="expired")
async def expired(stage: Stage) -> str:
    run_id, _ = await stage.asks_to_pay(expire_seconds=1)
    await stage.missions.ended(run_id)
    return run_id


@scene(run="withdrawn", approval="withdrawn")
async def withdrawn(stage: Stage) -> str:
    run_id, _ = await stage.asks_to_pay()
    await stage.missions.door.cancel_run(stage.missions.tenant_id, run_id)
    await stage.missions.ended(run_id)
    return run_id


@scene(run="request_ended_by_an_operator", approval="terminated")
async def request_ended_by_an_operator(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    name = approval_workflow_id(stage.missions.tenant_id, request_id)
    await stage.temporal.get_workflow_handle(name).terminate()
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="quorum_of_two")
async def quorum_of_two(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay(required_approvers=2)
    await stage.decide(request_id, "nobody", "approve")
    await stage.decide(request_id, "bob", "approve")
    await stage.decide(request_id, "carol", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signalled")
async def signalled(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    await stage.signal(request_id, "approve", {"approver": "bob", "comment": "by signal"})
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signalled_malformed")
async def signalled_malformed(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    payloads: list[tuple[object, ...]] = [(), (None,), ("bob",), ({},), ({"approver": 3},), ({}, {})]
    for payload in payloads:
        await stage.signal(request_id, "approve", *payload)
    await stage.signal(request_id, "reject", {"approver": "bob"})
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="signals_refused")
async def signals_refused(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay(signal_channel=False)
    await stage.signal(request_id, "approve", {"approver": "bob"})
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="publication_approved", filed=True)
async def publication_approved(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    await stage.decide(request_id, "bob", "approve")
    await stage.closed(request_id)
    return request_id


@scene(approval="publication_rejected", filed=True)
async def publication_rejected(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    await stage.signal(request_id, "reject", {"approver": "bob", "comment": "by signal"})
    await stage.closed(request_id)
    return request_id


@scene(approval="publication_expired", filed=True)
async def publication_expired(stage: Stage) -> str:
    request_id = await stage.asks_to_publish(expire_seconds=1)
    await stage.closed(request_id)
    return request_id


@scene(approval="publication_withdrawn", filed=True)
async def publication_withdrawn(stage: Stage) -> str:
    request_id = await stage.asks_to_publish()
    handle = stage.temporal.get_workflow_handle(approval_workflow_id(stage.missions.tenant_id, request_id))
    await handle.cancel()
    await stage.closed(request_id)
    return request_id


@scene(run="continued_as_new")
async def continued_as_new(stage: Stage) -> str:
    plan = {"items": [{"text": "go on", "status": "in_progress"}]}
    steps = [echoes(str(number)) for number in range(18)]
    stage.llm.script([tool_calls([("todo_write", plan)]), *steps, text("There.")])
    return (await stage.missions.finish(limits=Limits(max_steps=30))).brief.run_id


@scene(run="database_away")
async def database_away(stage: Stage) -> str:
    missions = stage.missions
    stage.llm.script([text("Done.")])
    run_id = await missions.accepted()
    brief = await missions.brief(run_id)
    await asyncio.to_thread(stage.servers.postgres.stop)
    await missions.door.start_run(brief)
    await stage.falls_back(run_id, "begin_run")
    await asyncio.to_thread(stage.servers.postgres.start)
    await missions.ended(run_id)
    return run_id
