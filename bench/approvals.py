"""Cost of thousands of pending approval requests, for the worker and for those who list and decide them.

Latencies are measured in turns on two stacks: one with few pending requests, and one with all of them.
"""

import asyncio
import os
import signal
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any, Final

import httpx

from bench.cpu import CpuMeter, resident_mb
from bench.stack import GATEWAY_SECRET, BenchStack, Say, running
from taskforce.infrastructure.auth.jwt_provider import mint_development_token
from taskforce.infrastructure.config.settings import Settings

PATH = "/api/v1/admin/requests"
TENANT = "bench-approvals"
ASKERS = 20
PAGE = 20
NEWEST, OLDEST = "asked last", "asked first"
OPEN_SECONDS = 0.2
SAY_SECONDS = 2
SETTLE_SECONDS = 2
_WARM = 40
_REQUEST: Final = {
    "request_type": "data_export",
    "description": "The auditors ask for it.",
    "resource_type": "session",
    "payload": {"sessions": [f"session-{number}" for number in range(5)], "format": "csv", "to": "auditors"},
}

Times = defaultdict[str, list[float]]
"""Milliseconds, by what was done."""

Once = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ApprovalsPlan:
    """Sets how much is measured.

    Attributes:
        pending: Requests that wait.
        few: Requests that are pending on the other stack: three pages.
        rounds: Number of turns of the two stacks.
        decisions: Decisions of a kind in a round.
        lists: Readings of a page in a round.
        at_a_time: Decisions at a time under load.
        idle_seconds: Seconds without any request.
    """

    pending: int = 10_000
    few: int = 3 * PAGE
    rounds: int = 5
    decisions: int = 60
    lists: int = 60
    at_a_time: int = 10
    idle_seconds: float = 60


QUICK_APPROVALS = ApprovalsPlan(pending=1_000, rounds=2, decisions=30, lists=30, idle_seconds=10)


@dataclass(frozen=True, slots=True)
class Compared:
    """Holds milliseconds of the same operation with few requests pending, and with many."""

    what: str
    few_p50: float
    few_p99: float
    p50: float
    p99: float

    @property
    def ratio(self) -> float:
        """Returns the median with many over that with few."""
        return self.p50 / self.few_p50


@dataclass(frozen=True, slots=True)
class Waiting:
    """Holds what pending requests cost the worker.

    Attributes:
        pending: Number of pending requests.
        asked_per_second: Requests made over HTTP, until the last workflow waits.
        before_mb, open_mb, idle_mb: Resident memory of the worker: with none, with all of them, and a while later.
        idle_cpu: Share of a core that the worker uses while nobody does anything.
    """

    pending: int
    asked_per_second: float
    before_mb: float
    open_mb: float
    idle_mb: float
    idle_cpu: float

    @property
    def kb_per_request(self) -> float:
        """Returns the kilobytes of the worker's memory per pending request."""
        return (self.open_mb - self.before_mb) * 1_024 / self.pending

    @property
    def idle_kb_per_request(self) -> float:
        """Returns the same after the idle time."""
        return (self.idle_mb - self.before_mb) * 1_024 / self.pending


@dataclass(frozen=True, slots=True)
class Approvals:
    """Holds all measurements of pending requests."""

    waiting: Waiting
    compared: Sequence[Compared]


async def measure_approvals(stack: BenchStack, plan: ApprovalsPlan, say: Say) -> Approvals:
    """Measures creating, listing and deciding requests, in turns where many and where few are pending.

    Args:
        stack: The running stack; workers and gateways are started here, and another stack for the few.
        plan: How much.
        say: Receives progress messages.
    """
    async with _office(stack, plan, say) as many:
        waiting = await many.fill()
        async with running(say) as beside, _office(beside, plan, say) as few:
            await few.ask(plan.few)
            return Approvals(waiting, await _by_turns(few, many, plan.rounds))


async def _by_turns(few: "_Office", many: "_Office", rounds: int) -> list[Compared]:
    with_few: Times = defaultdict(list)
    with_many: Times = defaultdict(list)
    turns = [(few, with_few), (many, with_many)]
    for number in range(rounds):
        # In the other order every second time, so that what drifts on the machine touches both alike.
        for office, found in turns if number % 2 == 0 else turns[::-1]:
            await office.work(found)
    return [Compared(what, *_ends(with_few[what]), *_ends(times)) for what, times in with_many.items()]


@asynccontextmanager
async def _office(stack: BenchStack, plan: ApprovalsPlan, say: Say) -> AsyncIterator["_Office"]:
    async with AsyncExitStack() as parts:
        worker = await parts.enter_async_context(AsyncExitStack())
        await worker.enter_async_context(stack.product_worker(say))
        url = await parts.enter_async_context(stack.gateway())
        asker = await parts.enter_async_context(_client(url, "alice", "operator"))
        approver = await parts.enter_async_context(_client(url, "ada", "admin"))
        office = _Office(stack, plan, say, worker=worker, asker=asker, approver=approver)
        await office.warm_up()
        yield office


class _Office:
    """Creates and decides requests on one stack.

    Args:
        stack: The running stack.
        plan: How much.
        say: Receives progress messages.
        worker: Holds the product's worker, and can stop it.
        asker: A client of the gateway for whoever asks.
        approver: One for whoever decides.
    """

    def __init__(
        self,
        stack: BenchStack,
        plan: ApprovalsPlan,
        say: Say,
        *,
        worker: AsyncExitStack,
        asker: httpx.AsyncClient,
        approver: httpx.AsyncClient,
    ) -> None:
        self._stack, self._plan, self._say = stack, plan, say
        self._worker, self._asker, self._approver = worker, asker, approver
        self._asked: deque[str] = deque()
        """Pending requests, the one that was asked for last at the right."""

    async def warm_up(self) -> None:
        """Runs every operation once in every process."""
        await self.ask(_WARM)
        await _times(self._each(_WARM, newest=True), self._plan.at_a_time)

    async def work(self, found: Times) -> None:
        """Lists, decides, restarts the worker and kills it; adds the time of each."""
        await self._lists(found)
        await self._decisions(found, NEWEST)
        await self._decisions(found, OLDEST)
        for name, number in (("restarted", signal.SIGTERM), ("killed", signal.SIGKILL)):
            await self._restart(found, name, number)

    async def _lists(self, found: Times) -> None:
        self._say(f"reading lists, {len(self._asked)} pending")
        first: dict[str, str | int] = {"limit": PAGE}
        for name, page in (("first", first), ("middle", {**first, "cursor": await self._middle()})):
            found[f"list: {name} page"] += await _times([partial(self._page, page)] * self._plan.lists, 1)

    async def _decisions(self, found: Times, which: str) -> None:
        plan = self._plan
        for at_a_time in (1, plan.at_a_time):
            # As many are created as will be decided, so that the number of pending ones stays.
            await self.ask(plan.decisions)
            self._say(f"deciding those {which}, {at_a_time} at a time, {len(self._asked)} pending")
            each = self._each(plan.decisions, newest=which == NEWEST)
            found[f"decide: {which}, {at_a_time} at a time"] += await _times(each, at_a_time)

    async def _restart(self, found: Times, name: str, number: signal.Signals) -> None:
        """Stops the worker, starts another, and decides a request that the one before had in its cache."""
        await self.ask(1)
        self._say(f"restarting the worker, {name}, {len(self._asked)} pending")
        os.kill(self._stack.pids["worker"], number)
        await self._worker.aclose()
        found[f"worker {name}: until it polls"] += await _times([self._start_worker], 1)
        found[f"worker {name}: first decision"] += await _times(self._each(1, newest=True), 1)

    async def fill(self) -> Waiting:
        """Creates as many requests as the plan says, and measures the worker's memory."""
        plan, before, began = self._plan, await self._settled_mb(), time.perf_counter()
        await self.ask(plan.pending)
        seconds = time.perf_counter() - began
        opened, meter = await self._settled_mb(), CpuMeter({"worker": self._stack.pids["worker"]})
        used = meter.read()
        self._say(f"leaving {len(self._asked)} pending requests alone for {plan.idle_seconds:.0f} s")
        await asyncio.sleep(plan.idle_seconds)
        idle_cpu = meter.since(used)["worker"] / plan.idle_seconds
        return Waiting(plan.pending, plan.pending / seconds, before, opened, self._memory(), idle_cpu)

    async def _start_worker(self) -> None:
        await self._worker.enter_async_context(self._stack.product_worker(self._say))

    async def ask(self, count: int) -> None:
        """Creates requests, and waits until the workflow of each waits for a decision."""
        numbers, due = iter(range(count)), time.monotonic()

        async def work() -> None:
            nonlocal due
            for _ in numbers:
                answer = await self._asker.post(PATH, json={**_REQUEST, "title": f"Export {len(self._asked)}"})
                self._asked.append(str(_body(answer, httpx.codes.CREATED)["request_id"]))
                if time.monotonic() >= due:
                    due = time.monotonic() + SAY_SECONDS
                    self._say(f"asking: {len(self._asked)} requests pending")

        await asyncio.gather(*(work() for _ in range(ASKERS)))
        while (opened := await self._open()) < len(self._asked):
            self._say(f"asked: {opened} of {len(self._asked)} workflows wait for a decision")
            # The server takes a while to count many workflows.
            await asyncio.sleep(OPEN_SECONDS if len(self._asked) - opened < 100 else SAY_SECONDS)

    async def _open(self) -> int:
        wanted = f"ApprovalStatus = 'pending' AND TaskforceTenant = '{TENANT}' AND ExecutionStatus = 'Running'"
        return (await self._stack.client.count_workflows(wanted)).count

    def _each(self, count: int, *, newest: bool) -> list[Once]:
        take = self._asked.pop if newest else self._asked.popleft
        return [partial(self._decide, take()) for _ in range(count)]

    async def _decide(self, request_id: str) -> None:
        answer = await self._approver.post(f"{PATH}/{request_id}/approve", json={"comment": "fine"})
        if _body(answer, httpx.codes.OK)["status"] != "approved":
            raise RuntimeError(f"a decision did not count: {answer.text[:300]}")

    async def _page(self, page: Mapping[str, str | int]) -> dict[str, Any]:
        answer = _body(await self._approver.get(f"{PATH}/pending", params=page), httpx.codes.OK)
        if "limit" in page and len(answer["items"]) != page["limit"]:
            raise RuntimeError(f"a page of {len(answer['items'])} requests")
        return answer

    async def _middle(self) -> str:
        """Returns the cursor of the page in the middle."""
        cursor: dict[str, str | int] = {}
        for _ in range(len(self._asked) // 2 // PAGE):
            cursor = {"cursor": (await self._page({"limit": PAGE, **cursor}))["next_cursor"]}
        return str(cursor["cursor"])

    def _memory(self) -> float:
        return resident_mb(self._stack.pids["worker"])

    async def _settled_mb(self) -> float:
        """Returns the memory once it is stable: a worker that has just started still imports."""
        before = 0.0
        while abs((now := self._memory()) - before) > 1:
            before = now
            await asyncio.sleep(SETTLE_SECONDS)
        return now


@asynccontextmanager
async def _client(url: str, user: str, role: str) -> AsyncIterator[httpx.AsyncClient]:
    defaults = {name: str(Settings.model_fields[f"jwt_{name}"].default) for name in ("issuer", "audience")}
    token = mint_development_token(GATEWAY_SECRET, TENANT, user, [role], 36_000, **defaults)
    headers = {"Authorization": f"Bearer {token}"}
    # Gateway and httpx both close connections idle for five seconds: the client must do so first, or a request fails.
    limits = httpx.Limits(keepalive_expiry=2)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, trust_env=False, timeout=60) as client:
        yield client


async def _times(todo: Sequence[Once], at_a_time: int) -> list[float]:
    """Returns the milliseconds of each operation, so many at a time."""
    left, found = iter(todo), []

    async def work() -> None:
        for once in left:
            began = time.perf_counter()
            await once()
            found.append((time.perf_counter() - began) * 1_000)

    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return found


def _body(answer: httpx.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise RuntimeError(f"the gateway answered {answer.status_code}: {answer.text[:300]}")
    body: dict[str, Any] = answer.json()
    return body


def _ends(times: Sequence[float]) -> tuple[float, float]:
    return median(times), quantiles(times, n=100, method="inclusive")[98]
