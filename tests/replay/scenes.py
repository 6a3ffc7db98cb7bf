"""Every way in which a workflow ends, played on real parts so that its history can be recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from temporalio.client import Client

from models.messages.approvals import ChangeInput, DecisionInput
from taskforce.core.domain.approval_terms import ActionKind, Deciders, TimedAction
from taskforce.core.domain.approvals import workflow_id as approval_workflow_id
from taskforce.core.domain.deletions import DeletionOrder
from taskforce.core.domain.deletions import workflow_id as deletion_workflow_id
from taskforce.core.domain.runs import Limits
from taskforce.core.domain.runs import workflow_id as run_workflow_id
from tests.chaos.composition import OwnServers
from tests.fixtures.runs import FLEETING, Missions, now
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

    async def decide(
        self, request_id: str, approver: str, verdict: Literal["approve", "reject"], **more: object
    ) -> None:
        said = DecisionInput.model_validate(
            {"approver_id": approver, "verdict": verdict, "comment": "as recorded", **more}
        )
        await self.missions.door.decide(self.missions.tenant_id, request_id, said)

    async def signal(self, request_id: str, signal: str, *payload: object) -> None:
        name = approval_workflow_id(self.missions.tenant_id, request_id)
        await self.temporal.get_workflow_handle(name).signal(signal, args=list(payload))

    async def closes(self, workflow_id: str) -> None:
        """Waits until a workflow has closed."""
        handle = self.temporal.get_workflow_handle(workflow_id)
        async with asyncio.timeout(30):
            while (await handle.describe()).close_time is None:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)

    def of_tenant(self, name: str) -> Missions:
        """The missions of another tenant, which may go without the others' scenes."""
        return Missions(self.missions.database, self.missions.door, name)

    async def deletes(self, missions: Missions, seconds: int | None = None) -> None:
        """Has a tenant deleted, its runs cancelled at once or drained."""
        home, at = "platform", now()
        until = None if seconds is None else at + timedelta(seconds=seconds)
        await missions.database.register_tenant(home, at)
        async with missions.database.tenant(home) as records:
            await records.deletions.begin(DeletionOrder(missions.tenant_id, "pia", at, None, until))
        await missions.door.start_deletion(missions.tenant_id)

    async def falls_back(self, run_id: str, activity: str) -> None:
        """Waits until a local activity has given up and runs as a regular one."""
        await self.begins(run_workflow_id(self.missions.tenant_id, run_id), activity)

    async def begins(self, workflow_id: str, activity: str) -> None:
        """Waits until a workflow has scheduled an activity."""
        handle = self.temporal.get_workflow_handle(workflow_id)
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


@scene(run="approved_for_the_run", approval="edited_and_for_the_run")
async def approved_for_the_run(stage: Stage) -> str:
    pay = tool_calls([("pay", {"amount": 7})])
    stage.llm.script([pay, pay, text("So be it.")])
    run_id = await stage.missions.start()
    event = await stage.missions.event(run_id, "approval.requested")
    request_id = str(event.data["request_id"])
    edit = await stage.missions.propose(request_id, {"amount": 5})
    await stage.decide(request_id, "bob", "approve", edit=edit, for_run=True)
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="escalated")
async def escalated(stage: Stage) -> str:
    actions = (
        TimedAction(ActionKind.REMIND, 1),
        TimedAction(ActionKind.WIDEN, 2, Deciders(("operator",))),
        TimedAction(ActionKind.REASSIGN, 3, Deciders(people=("carol",))),
    )
    run_id, request_id = await stage.asks_to_pay(actions=actions)
    await stage.missions.event(run_id, "approval.escalated", 2)
    await stage.decide(request_id, "bob", "approve")
    await stage.decide(request_id, "carol", "approve")
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="changed")
async def changed(stage: Stage) -> str:
    run_id, request_id = await stage.asks_to_pay()
    wishes = [
        ChangeInput(actor_id="bob", kind="reassign", people=("carol",)),
        ChangeInput(actor_id="nobody", kind="withdraw"),
        ChangeInput(actor_id="alice", kind="withdraw", comment="never mind"),
    ]
    for wish in wishes:
        await stage.missions.door.change_request(stage.missions.tenant_id, request_id, wish)
    await stage.missions.ended(run_id)
    return run_id


@scene(approval="asked_by_a_person", alone=True)
async def asked_by_a_person(stage: Stage) -> str:
    request_id = await stage.missions.ask(carries_out=True)
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.closed(request_id)
    return request_id


@scene(approval="voided", alone=True)
async def voided(stage: Stage) -> str:
    request_id = await stage.missions.ask(FLEETING)
    await stage.decide(request_id, "bob", "approve")
    await stage.missions.closed(request_id)
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


@scene(deletion="cancelled_runs")
async def cancelled_runs(stage: Stage) -> str:
    missions = stage.of_tenant("globex")
    stage.llm.script([tool_calls([("pay", {"amount": 7})])])
    await missions.event(await missions.start(), "approval.requested")
    await stage.deletes(missions)
    return missions.tenant_id


@scene(deletion="drained_runs")
async def drained_runs(stage: Stage) -> str:
    missions = stage.of_tenant("initech")
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})]), text("Blue it is.")])
    run_id = await missions.start()
    await missions.event(run_id, "run.waiting")
    await stage.deletes(missions, seconds=600)
    await missions.say(run_id, "Blue.")
    return missions.tenant_id


@scene(deletion="kept_log")
async def kept_log(stage: Stage) -> str:
    missions = stage.of_tenant("hooli")
    await missions.person("ada", "admin")
    await missions.accepted()
    await stage.servers.keep_logs_for("3 seconds")
    await stage.deletes(missions)
    await stage.closes(deletion_workflow_id(missions.tenant_id))
    await stage.servers.keep_logs_for("0 seconds")
    return missions.tenant_id


@scene(deletion="interrupted")
async def interrupted(stage: Stage) -> str:
    missions = stage.of_tenant("umbrella")
    stage.llm.script([tool_calls([("ask_user", {"question": "Which colour?"})])])
    await missions.event(await missions.start(), "run.waiting")
    await stage.deletes(missions, seconds=600)
    workflow_id = deletion_workflow_id(missions.tenant_id)
    await stage.begins(workflow_id, "end_tenant_runs")
    await stage.temporal.get_workflow_handle(workflow_id).cancel()
    return missions.tenant_id
