"""A day's work of one tenant: runs of every kind, requests that a person decides, deliveries, cancellations."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import httpx

from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.runs.run import RunStatus
from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from taskforce.infrastructure.config.settings import driver_arguments, normalise_database_url
from taskforce.infrastructure.persistence.sqlstates import LOST_CONNECTION
from tests.chaos.deployment import ISSUER, SECRET
from tests.chaos.invariants import eventually
from tests.chaos.site import Site
from tests.fixtures.missions import Missions
from tests.fixtures.scripted_llm import Body, Reply, text, tool_calls
from tests.fixtures.webhooks import Hooks

ROLES = {"alice": "operator", "bob": "admin"}
STEPS = 3
PAYS, CANCELLED = 3, 7
"""Of ten missions this one pays what a person must approve, and that one is cancelled on its way."""
_ROWS = {
    "runs": "SELECT status, count(*) FROM runs WHERE tenant_id = $1 GROUP BY status",
    "audited": "SELECT action, count(*) FROM audit_events WHERE tenant_id = $1 AND outcome <> 'denied' GROUP BY action",
    "ended twice": "SELECT resource_id, count(*) FROM audit_events WHERE tenant_id = $1 AND action = 'run.end'"
    " GROUP BY resource_id HAVING count(*) > 1",
    "spent twice": "SELECT run_id, step, call, count(*) FROM usage_records WHERE tenant_id = $1"
    " AND (error_code IS NULL OR kind <> 'model') GROUP BY run_id, step, call HAVING count(*) > 1",
    "not spent": "SELECT run_id, step, call FROM transcript t WHERE tenant_id = $1 AND kind = 'reply' AND NOT EXISTS"
    " (SELECT FROM usage_records u WHERE (u.tenant_id, u.run_id, u.step, u.call) = (t.tenant_id, t.run_id, t.step, 0))",
    "without an outcome": "SELECT run_id, step, call FROM run_effects e WHERE tenant_id = $1 AND NOT EXISTS (SELECT"
    " FROM transcript t WHERE (t.tenant_id, t.run_id, t.step, t.call) = (e.tenant_id, e.run_id, e.step, e.call))",
    "requests": "SELECT status, count(*) FROM approvals WHERE tenant_id = $1 GROUP BY status",
    "deliveries": "SELECT status, count(*) FROM webhook_deliveries WHERE tenant_id = $1 GROUP BY status",
}


def reply(body: Body) -> Reply:
    """Three steps of three tools; a mission that pays calls one that needs an approval in the first of them."""
    said = json.dumps(body["messages"])
    done, number = said.count('"tool_call_id"'), mission_of(body)
    if number % 10 == PAYS:
        return text("Paid.") if done else tool_calls([("pay", {"amount": number})])
    if done >= STEPS * 3:
        return text("Done.")
    return tool_calls([("tally", {"text": "a"}), ("file_away", {"text": str(done)}), ("wire", {"amount": done + 1})])


def mission_of(body: Body) -> int:
    """Returns the number of the mission of a request to the model."""
    messages = body["messages"]
    assert isinstance(messages, list)
    return next(int(one["content"].split()[1]) for one in messages if str(one["content"]).startswith("mission "))


@dataclass
class Workload:
    """The work of one tenant, and what is true of it in the end.

    Attributes:
        site: The deployment.
        missions: The tenant.
        size: So many missions.
        patience: Seconds in which all have ended.
        runs: The run of each mission.
        asked: How often the model of each mission was asked.
        asked_by_then: For each cancelled mission, the requests that its model had got when the cancellation was
            promised.
    """

    site: Site
    missions: Missions
    size: int
    patience: float
    runs: dict[int, str] = field(default_factory=dict)
    asked: Counter[int] = field(default_factory=Counter)
    asked_by_then: dict[int, int] = field(default_factory=dict)

    async def open(self) -> None:
        """Lets people sign in, and the receiver be told."""
        self.site.llm.reply = self._reply
        self.hooks = Hooks(self.missions.database, None, self.missions.tenant_id)
        await self.hooks.make(self.site.receiver.url())
        for who, role in ROLES.items():
            await self.missions.person(who, role)

    async def do(self) -> None:
        """Starts all missions, some at a time, and does what people do; returns when all have ended."""
        async with asyncio.TaskGroup() as group:
            deciding = group.create_task(self._decide())
            room = asyncio.Semaphore(20)
            async with asyncio.TaskGroup() as starting:
                for number in range(self.size):
                    starting.create_task(self._start(number, room))
            await eventually(self._is_over, self.patience)
            deciding.cancel()

    async def progress(self) -> float:
        """Returns the share of the missions that have ended."""
        ended = sum(count for status, count in (await self.status()).items() if RunStatus(status).is_final)
        return ended / self.size

    async def status(self) -> Counter[str]:
        """Returns the number of runs by status; none while PostgreSQL is away."""
        with suppress(*LOST_CONNECTION, asyncpg.PostgresError):
            return await self.count("runs")
        return Counter()

    async def count(self, name: str) -> Counter[str]:
        """Returns the answer to one of the questions that count, by the text of its first column."""
        return Counter({str(what): int(str(times)) for what, times in await self.rows(name)})

    async def rows(self, name: str) -> Sequence[tuple[object, ...]]:
        """Returns the rows of one of the questions about the tenant."""
        admin = normalise_database_url(self.site.servers.postgres.urls().admin)
        connection = await asyncpg.connect(**driver_arguments(admin))
        try:
            return [tuple(row) for row in await connection.fetch(_ROWS[name], self.missions.tenant_id)]
        finally:
            await connection.close()

    async def _is_over(self) -> bool:
        return await self.progress() >= 1

    async def _start(self, number: int, room: asyncio.Semaphore) -> None:
        async with room:
            # Committed once; if Temporal is away the sweeper starts it.
            while number not in self.runs:
                with suppress(DomainError, OSError):
                    self.runs[number] = await self.missions.accepted(f"mission {number}")
            with suppress(DomainError, OSError):
                await self.missions.workflow_client.runs.start(await self.missions.spec(self.runs[number]))
        if number % 10 == CANCELLED:
            await self._cancel(number)

    async def _cancel(self, number: int) -> None:
        # Somewhere between its first request and its end.
        await self.site.llm.until(lambda llm: self.asked[number] > number // 10 % STEPS, timeout=self.patience)
        status = await self._post(f"/api/v1/runs/{self.runs[number]}/cancel", "alice")
        if status == httpx.codes.ACCEPTED:
            self.asked_by_then[number] = self.asked[number]

    def _reply(self, body: Body) -> Reply:
        self.asked[mission_of(body)] += 1
        return reply(body)

    async def _decide(self) -> None:
        while True:
            with suppress(DomainError, OSError):
                for request in await self.missions.pending():
                    path = f"/api/v1/admin/requests/{request.approval.request_id}/approve"
                    await self._post(path, "bob")
            await asyncio.sleep(0.1)

    async def _post(self, path: str, who: str) -> int:
        """Posts until it is answered, which it is not while somebody is away."""
        token = mint_development_token(
            SECRET, self.missions.tenant_id, who, [ROLES[who]], issuer=ISSUER, audience=ISSUER
        )
        while True:
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(base_url=self.site.gateway, trust_env=False, timeout=60) as client:
                    answer = await client.post(path, headers={"authorization": f"Bearer {token}"})
                    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        return answer.status_code
            await asyncio.sleep(0.1)
