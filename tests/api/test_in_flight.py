"""Nobody keeps so many requests open that others find no place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx
import pytest

from api.composition import GatewayContext
from api.in_flight import InFlight, OpenLimits
from taskforce.application.access.sign_in_limits import SignInLimit
from taskforce.core.domain.access.rate_limits import Rate
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute, serving
from tests.chaos.invariants import eventually

EXECUTE = "/api/v1/agents/execute"
MISSION = {"mission": "Say hello.", "model": "openai/scripted"}


@pytest.fixture
async def small(gateway_parts: GatewayContext) -> AsyncIterator[Gateway]:
    """A gateway that keeps few requests open."""
    limits = InFlight(streams=OpenLimits(9, 2), waits=OpenLimits(9, 2), exports=OpenLimits(9, 1))
    strict = SignInLimit(Rate.per_minute(5))
    parts = replace(gateway_parts, in_flight=limits, sign_in_limit=strict, closing=asyncio.Event())
    async with serving(parts) as running:
        yield running


@pytest.fixture
async def small_client_for(small: Gateway) -> AsyncIterator[ClientFor]:
    async with small.clients() as make:
        yield make


async def opened(stack: AsyncExitStack, client: httpx.AsyncClient, path: str) -> httpx.Response:
    return await stack.enter_async_context(client.stream("GET", path))


async def until_empty(small: Gateway) -> None:
    async def is_empty() -> bool:
        return len(small.parts.in_flight.streams) + len(small.parts.in_flight.exports) == 0

    await eventually(is_empty)


async def test_a_caller_has_so_many_streams_and_gets_a_place_back_when_one_ends(
    small: Gateway, small_client_for: ClientFor, tenant: str
) -> None:
    olga = small_client_for(tenant, "olga", ["operator"])
    events = (await execute(olga))["links"]["events"]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            assert (await opened(stack, olga, events)).status_code == 200
        answer = await olga.get(events)
        assert_problem(answer, 429, "streams_limited")
        assert answer.headers["retry-after"] == "5"
    await until_empty(small)
    async with olga.stream("GET", events) as again:
        assert again.status_code == 200


async def test_a_tenant_whose_people_take_all_they_get_leaves_room_for_others(
    small_client_for: ClientFor, tenant: str
) -> None:
    async with AsyncExitStack() as stack:
        first = small_client_for(tenant, "admin", ["admin"])
        events = (await execute(first))["links"]["events"]
        statuses = [
            (await opened(stack, small_client_for(tenant, f"admin-{number}", ["admin"]), events)).status_code
            for number in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        other = small_client_for(f"{tenant}-other", "oscar", ["operator"])
        assert (await opened(stack, other, (await execute(other))["links"]["events"])).status_code == 200


async def test_who_waits_too_often_at_once_is_answered_without_a_wait(
    small: Gateway, small_client_for: ClientFor, tenant: str
) -> None:
    olga = small_client_for(tenant, "olga", ["operator"])
    waiting = [asyncio.create_task(olga.post(EXECUTE, json=MISSION, headers={"prefer": "wait=50"})) for _ in range(2)]

    async def both_wait() -> bool:
        return len(small.parts.in_flight.waits) == len(waiting)

    await eventually(both_wait)
    answer = await olga.post(EXECUTE, json=MISSION, headers={"prefer": "wait=50"})
    assert (answer.status_code, "preference-applied" in answer.headers) == (202, False)
    assert not any(task.done() for task in waiting)
    small.parts.closing.set()
    assert {(await task).headers["preference-applied"] for task in waiting} == {"wait=50"}
    assert len(small.parts.in_flight.waits) == 0


async def test_an_export_gives_its_place_back(small: Gateway, small_client_for: ClientFor, tenant: str) -> None:
    ada = small_client_for(tenant, "ada", ["admin"])
    with small.parts.in_flight.exports.take(tenant, "ada"):
        assert_problem(await ada.get("/api/v1/admin/audit/export"), 429, "exports_limited")
    for _ in range(2):
        assert (await ada.get("/api/v1/admin/audit/export")).status_code == 200
        await until_empty(small)


async def test_an_address_that_fails_too_often_waits_while_its_neighbours_go_on(
    small: Gateway, small_client_for: ClientFor, tenant: str
) -> None:
    olga = small_client_for(tenant, "olga", ["operator"])
    assert (await olga.get("/api/v1/me")).status_code == 200
    async with httpx.AsyncClient(base_url=small.url, trust_env=False, timeout=60) as nobody:
        bad = {"authorization": "Bearer tf_none"}
        answers = [await nobody.get("/api/v1/me", headers=bad) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert_problem(answers[-1], 429, "sign_ins_limited")
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await olga.get("/api/v1/me")).status_code == 200
