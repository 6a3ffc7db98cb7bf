"""Runs, approvals, deliveries and cancellations go on while processes of the deployment are killed at random.

`make chaos` does it with a thousand runs.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.invariants import eventually
from tests.chaos.site import VICTIMS, Site, whole_site
from tests.chaos.workload import CANCELLED, PAYS, STEPS, Workload
from tests.fixtures.scripted_llm import ScriptedLLM

RUNS = int(os.environ.get("TASKFORCE_CHAOS_RUNS", "40"))
# Each process is killed at least once.
KILLS = max(len(VICTIMS), RUNS // 50)
PATIENCE = 120.0 + RUNS * 5.0


@pytest.fixture(scope="module")
async def site(place: Path, llm: ScriptedLLM) -> AsyncIterator[Site]:
    async with whole_site(place, llm) as site:
        yield site


@pytest.fixture(scope="module")
async def workload(site: Site) -> Workload:
    """A day's work that has been done, under kills."""
    work = Workload(site, site.missions(), RUNS, PATIENCE)
    await work.open()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(work.do())
        group.create_task(kill_at_random(work))
    return work


async def kill_at_random(work: Workload) -> None:
    order = random.Random(13)
    victims = [*VICTIMS, *order.choices(VICTIMS, k=KILLS - len(VICTIMS))]
    order.shuffle(victims)
    for number, victim in enumerate(victims, start=1):

        async def got_on(share: float = number / (KILLS + 2)) -> bool:
            return await work.progress() >= share

        await eventually(got_on, PATIENCE)
        await work.site.kill_and_restart(victim)


async def test_what_was_started_has_ended_and_is_audited_once(workload: Workload) -> None:
    status = await workload.status()
    assert set(status) <= {"completed", "cancelled"}
    # A gateway or a database that dies after a commit leaves a run whose starter has asked again.
    assert sum(status.values()) >= RUNS
    audited = await workload.count("audited")
    assert audited["run.start"] == audited["run.end"] == sum(status.values())
    assert await workload.rows("ended twice") == []


async def test_no_usage_is_missing_or_doubled(workload: Workload) -> None:
    assert await workload.rows("spent twice") == []
    assert await workload.rows("not spent") == []


async def test_no_effect_is_doubled_and_each_has_an_outcome(workload: Workload) -> None:
    begun = [
        (key, times)
        for (tool, key, stage), times in workload.site.workers.effects.seen().items()
        if tool == "wire" and stage == "begun"
    ]
    assert [key for key, times in begun if times > 1] == []
    assert len(begun) <= len(workload.runs) * STEPS
    assert await workload.rows("without an outcome") == []


async def test_each_request_is_decided_and_told(workload: Workload) -> None:
    requests = await workload.count("requests")
    paying = sum(number % 10 == PAYS for number in range(RUNS))
    assert set(requests) == {"approved"}
    assert requests["approved"] >= paying

    async def all_told() -> bool:
        return set(await workload.count("deliveries")) == {"delivered"}

    await eventually(all_told)
    # Asked, decided, approved.
    assert (await workload.count("deliveries"))["delivered"] == 3 * requests["approved"]


async def test_no_step_begins_after_a_cancellation_was_promised(workload: Workload) -> None:
    assert set(workload.asked_by_then) <= {number for number in range(RUNS) if number % 10 == CANCELLED}
    later = {number: workload.asked[number] - asked for number, asked in workload.asked_by_then.items()}
    # The request that had begun in that moment may arrive after the promise.
    assert {number: more for number, more in later.items() if more > 1} == {}


async def test_no_workflow_is_left(workload: Workload) -> None:
    async def none_open() -> bool:
        return (await workload.site.client.count_workflows("ExecutionStatus = 'Running'")).count == 0

    await eventually(none_open)
