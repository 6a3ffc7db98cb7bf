"""`kill -9` of each process of a deployment while requests stand in every state: nothing lost, nothing done twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.approval_states import Desk, State
from tests.chaos.site import VICTIMS, Site, whole_site
from tests.fixtures.scripted_llm import ScriptedLLM


@pytest.fixture(scope="module")
async def site(place: Path, llm: ScriptedLLM) -> AsyncIterator[Site]:
    async with whole_site(place, llm) as site:
        yield site


@pytest.mark.parametrize("victim", VICTIMS)
async def test_requests_in_every_state_end_as_if_nothing_had_been_killed(site: Site, victim: str) -> None:
    desk = Desk(site.missions(), site.client, site.gateway, site.workers.effects, site.receiver, site.llm)
    await desk.open()
    async with desk.in_danger():
        await site.kill_and_restart(victim)
    await desk.finish()
    for state in State:
        await desk.check(state)
    await desk.check_the_run()
    await desk.check_deliveries()
