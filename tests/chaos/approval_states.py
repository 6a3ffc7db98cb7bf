"""Requests in every state that a kill may find them in, brought to their end afterwards, and what must be true then."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import httpx
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from taskforce.core.domain.approvals.approval import Verdict, workflow_id
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, TimedAction
from taskforce.core.domain.audit.events import AuditFilter
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.paging import Page
from taskforce.core.domain.webhooks.delivery import DeliveryStatus
from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from tests.chaos.deployment import ISSUER, SECRET
from tests.chaos.durable_tools import Effects
from tests.chaos.invariants import ended, eventually
from tests.fixtures.missions import CARRIED, Missions, now
from tests.fixtures.scripted_llm import ScriptedLLM, text, tool_calls
from tests.fixtures.webhook_receivers import Got, Receiver
from tests.fixtures.webhooks import Hooks
from workflows.approval import ApprovalWorkflow

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=3)
WIDENS = (TimedAction(ActionKind.WIDEN, 3_600, Deciders(people=("dora",))),)
ROLES = {"alice": "operator", "bob": "admin", "carol": "admin", "dora": "operator"}
UNANSWERED = frozenset({503})
"""What whoever asked hears of a process that is away, and after which they ask again."""


class State(StrEnum):
    """Where a request stands when something is killed."""

    COMMITTED = "committed, its workflow not started"
    PENDING = "pending, nobody has decided"
    HALF = "pending, one of two has approved"
    DECIDING = "the second approval is being recorded"
    WIDENING = "being widened"
    CARRIED_OUT = "approved, what follows is under way"
    TELLING = "closed, its webhook is being told"
    CALLING = "pending, a run waits to call a tool"


EXPECTED: Mapping[State, Sequence[tuple[str, str]]] = {
    **dict.fromkeys(
        (State.COMMITTED, State.PENDING, State.HALF, State.DECIDING, State.CARRIED_OUT),
        (
            ("created", "alice"),
            ("approved_by", "bob"),
            ("approved_by", "carol"),
            ("approved", "system"),
            ("carried_out", "system"),
            ("done", "system"),
        ),
    ),
    State.WIDENING: (
        ("created", "alice"),
        ("widened", "system"),
        ("approved_by", "dora"),
        ("approved_by", "bob"),
        ("approved", "system"),
        ("carried_out", "system"),
        ("done", "system"),
    ),
    State.CALLING: (("created", "alice"), ("approved_by", "bob"), ("approved_by", "carol"), ("approved", "system")),
    State.TELLING: (("created", "alice"), ("rejected_by", "bob"), ("rejected", "system")),
}
"""What has happened to each at its end, as if nothing had been killed: (what, by whom)."""
_AUDITED = {
    "created": ("approval.request", "pending"),
    "approved_by": ("approval.decide", "approve"),
    "rejected_by": ("approval.decide", "reject"),
    "widened": ("approval.escalate", "allowed"),
    "approved": ("approval.close", "approved"),
    "rejected": ("approval.close", "rejected"),
    "carried_out": ("approval.carry_out", "allowed"),
}
_EVENTS = {
    "created": "request_created",
    "approved_by": "request_action",
    "rejected_by": "request_action",
    "widened": "request_escalated",
    "approved": "request_approved",
    "rejected": "request_rejected",
}


@dataclass
class Desk:
    """One tenant's requests, one in each state, and the people who decide them over HTTP.

    Attributes:
        missions: The tenant.
        client: A client of the Temporal server.
        gateway: Where the gateway is.
        effects: What followed approvals.
        receiver: Who is told.
        llm: The model of the run.
        requests: The request in each state.
    """

    missions: Missions
    client: Client
    gateway: str
    effects: Effects
    receiver: Receiver
    llm: ScriptedLLM
    requests: dict[State, str] = field(default_factory=dict)
    _cut_off: list["asyncio.Task[int]"] = field(default_factory=list)

    async def open(self) -> None:
        """Lets people sign in, and the receiver be told."""
        self.hooks = Hooks(self.missions.database, None, self.missions.tenant_id)
        self.webhook, _ = await self.hooks.make(self.receiver.url())
        for who, role in ROLES.items():
            await self.missions.person(who, role)

    @asynccontextmanager
    async def in_danger(self) -> AsyncIterator[None]:
        """Brings a request into each state, in which they are kept while the block lasts."""
        missions = self.missions.under(required_approvers=2)
        asked = [State.PENDING, State.HALF, State.DECIDING, State.CARRIED_OUT, State.TELLING]
        for state in asked:
            self.requests[state] = await missions.ask()
        self.requests[State.CALLING] = await self._wants_to_pay(missions)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._held_before_it_is_widened(missions))
            await asyncio.gather(*(self._is_open(state) for state in self.requests))
            for state in (State.HALF, State.DECIDING, State.CARRIED_OUT):
                assert await self.say("bob", state) == 200
            await stack.enter_async_context(self._row_held(State.DECIDING))
            self.effects.hold()
            self.receiver.hold()
            await self._bring_to_the_edge()
            # The sweeper starts what is late; this one is when everything is back.
            filed = await missions.filed(at=now() - SOON)
            self.requests[State.COMMITTED] = filed.approval.request_id
            yield
        self.effects.release()
        self.receiver.release()

    @asynccontextmanager
    async def _held_before_it_is_widened(self, missions: Missions) -> AsyncIterator[None]:
        """Asks for what is to be widened by now; its row is held before its workflow starts, which need not mark it."""
        request = await missions.filed(at=now() - HOUR + SOON, actions=WIDENS)
        self.requests[State.WIDENING] = request.approval.request_id
        async with missions.database.tenant(missions.tenant_id) as records:
            await records.requests.start(request.approval.request_id, now())
        async with self._row_held(State.WIDENING):
            await missions.workflow_client.approvals.start(missions.tenant_id, request)
            yield

    async def _wants_to_pay(self, missions: Missions) -> str:
        self.llm.script([tool_calls([("pay", {"amount": 7})]), text("Paid.")])
        self.run_id = await missions.start()
        return str((await missions.event(self.run_id, "approval.requested")).data["request_id"])

    async def _bring_to_the_edge(self) -> None:
        # Whoever answers these may be killed before they do.
        for state in (State.DECIDING, State.CARRIED_OUT):
            self._cut_off.append(asyncio.create_task(self._once("carol", state, Verdict.APPROVE)))
        assert await self.say("bob", State.TELLING, Verdict.REJECT) == 200
        await asyncio.gather(
            self._asked_for(State.DECIDING, "record_decision", 2),
            self._asked_for(State.WIDENING, "act_on_request", 1),
            eventually(self._begun),
            eventually(self._told_of_the_rejection),
        )

    async def _begun(self) -> bool:
        return (CARRIED, self.requests[State.CARRIED_OUT], "begun") in self.effects.seen()

    async def _told_of_the_rejection(self) -> bool:
        return any(_what(got)[0] == "request_rejected" for got in self._copies(State.TELLING))

    @asynccontextmanager
    async def _row_held(self, state: State) -> AsyncIterator[None]:
        """Keeps everybody else from writing to a request, as long as PostgreSQL lives."""
        over = False
        try:
            async with self.missions.database.tenant(self.missions.tenant_id) as records:
                await records.requests.locked(self.requests[state])
                yield
                over = True
        except DomainError:
            if not over:
                raise

    async def finish(self) -> None:
        """Lets people do what is left to be done; who was not answered asks again."""
        heard = await asyncio.gather(*self._cut_off, return_exceptions=True)
        assert all(isinstance(one, httpx.TransportError) or one in {200, *UNANSWERED} for one in heard), heard
        await asyncio.gather(self._is_open(State.COMMITTED), self._has(State.WIDENING, ("widened", "system")))
        await asyncio.gather(
            self._decided({200, 409}, State.COMMITTED, "bob", "carol"),
            self._decided({200, 409}, State.PENDING, "bob", "carol"),
            self._decided({200, 409}, State.CALLING, "bob", "carol"),
            self._decided({200, 409}, State.WIDENING, "dora", "bob"),
            # Who has spoken before the kill has spoken, and is answered as then.
            self._decided({200}, State.HALF, "bob"),
            self._decided({200}, State.DECIDING, "carol"),
        )
        await self._decided({200, 409}, State.HALF, "carol")
        await asyncio.gather(*(self._has(state, EXPECTED[state][-1]) for state in State))
        assert (await ended(self.missions, self.run_id)).answer == "Paid."
        await eventually(self._all_delivered)

    async def _decided(self, answers: set[int], state: State, *people: str) -> None:
        for who in people:
            assert await self.say(who, state) in answers, (state, who)

    async def _all_delivered(self) -> bool:
        return all(one.state.status.is_final for one in await self.hooks.deliveries(self.webhook))

    async def say(self, who: str, state: State, verdict: Verdict = Verdict.APPROVE) -> int:
        """Decides, until it is answered; returns the HTTP status."""
        while True:
            with suppress(httpx.TransportError):
                status = await self._once(who, state, verdict)
                if status not in UNANSWERED:
                    return status
            await asyncio.sleep(0.1)

    async def _once(self, who: str, state: State, verdict: Verdict) -> int:
        token = mint_development_token(
            SECRET, self.missions.tenant_id, who, [ROLES[who]], issuer=ISSUER, audience=ISSUER
        )
        async with httpx.AsyncClient(base_url=self.gateway, trust_env=False, verify=False, timeout=60) as client:
            path = f"/api/v1/admin/requests/{self.requests[state]}/{verdict.value}"
            return (await client.post(path, headers={"authorization": f"Bearer {token}"})).status_code

    async def _is_open(self, state: State) -> None:
        await eventually(lambda: self._says_pending(state))

    async def _says_pending(self, state: State) -> bool:
        with suppress(RPCError):
            return (await self._handle(state).query(ApprovalWorkflow.state)).status == "pending"
        return False

    async def _asked_for(self, state: State, activity: str, times: int) -> None:
        """Waits until a workflow has asked so many times for an activity."""

        async def asked() -> bool:
            events = (await self._handle(state).fetch_history()).events
            names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
            return names.count(activity) >= times

        await eventually(asked)

    def _handle(self, state: State) -> "WorkflowHandle[ApprovalWorkflow, object]":
        name = workflow_id(self.missions.tenant_id, self.requests[state])
        return self.client.get_workflow_handle_for(ApprovalWorkflow.run, name)

    async def _has(self, state: State, what: tuple[str, str]) -> None:
        async def happened() -> bool:
            return what in await self.history(state)

        await eventually(happened)

    async def history(self, state: State) -> list[tuple[str, str]]:
        async with self.missions.database.tenant(self.missions.tenant_id) as records:
            return [(one.kind, one.actor_id) for one in await records.requests.history(self.requests[state])]

    async def check(self, state: State) -> None:
        """Checks that it is as if nothing had been killed: all that happened is there, once."""
        expected = EXPECTED[state]
        assert sorted(await self.history(state)) == sorted(expected), state
        request = await self.missions.request(self.requests[state])
        assert [one.approver_id for one in request.approval.decisions] == [
            who for what, who in expected if what in {"approved_by", "rejected_by"}
        ]
        audited = [(*_AUDITED[what], who) for what, who in expected if what in _AUDITED]
        assert sorted(await self._audited(state)) == sorted(audited), state
        self._check_what_was_told(state)

    async def _audited(self, state: State) -> list[tuple[str, str, str]]:
        async with self.missions.database.tenant(self.missions.tenant_id) as records:
            log = await records.audit.page(AuditFilter(resource_id=self.requests[state]), Page(100))
        return [(one.action, one.outcome, one.actor_id) for one in log if one.outcome != "denied"]

    def _check_what_was_told(self, state: State) -> None:
        """Each event came at least once, and all its copies are the same."""
        copies: dict[tuple[str, str, str], set[tuple[str, bytes]]] = defaultdict(set)
        for got in self._copies(state):
            copies[_what(got)].add((got.event_id, got.body))
        assert sorted(copies) == sorted((_EVENTS[what], what, who) for what, who in EXPECTED[state] if what in _EVENTS)
        assert all(len(same) == 1 for same in copies.values()), (state, copies)
        assert len({event_id for same in copies.values() for event_id, _ in same}) == len(copies)

    async def check_the_run(self) -> None:
        """Checks that the run has called its tool, once."""
        assert [one.text for one in await self.missions.observations(self.run_id)] == ["paid 7"]
        assert self.effects.count("pay", self.run_id, "done") == [1]

    async def check_deliveries(self) -> None:
        """Checks that each event was queued once, and has arrived."""
        delivered = [one.state.status for one in await self.hooks.deliveries(self.webhook)]
        events = sum(what in _EVENTS for happened in EXPECTED.values() for what, _ in happened)
        assert delivered == [DeliveryStatus.DELIVERED] * events

    def _copies(self, state: State) -> list[Got]:
        return [got for got in self.receiver.got if _data(got)["request_id"] == self.requests[state]]


def _data(got: Got) -> dict[str, object]:
    data = got.json()["data"]
    assert isinstance(data, dict)
    return data


def _what(got: Got) -> tuple[str, str, str]:
    """The event, what happened, and by whom."""
    data = _data(got)
    return str(got.json()["type"]), str(data["action"]), str(data["actor_id"])
