"""The same as `tests/workflows/test_approval_model.py`, while hours pass between what people do."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given

from tests.fixtures.approval_model import DRAFT, Drafts, Real
from tests.fixtures.approval_sequences import KNOWN_IN_TIME, Pair, Play, always_the_same, plays
from tests.fixtures.missions import Missions
from tests.time_skipping.conftest import Skipping
from tests.time_skipping.server_time import SkippedClient
from worker import build_worker

pytestmark = pytest.mark.time_skipping
QUEUE = "skipping-drafts"


@dataclass(frozen=True, slots=True)
class Skipped:
    """The time of a server that skips."""

    skipping: Skipping

    async def now(self) -> datetime:
        return (await self.skipping.env.get_current_time()).astimezone(UTC)

    async def wait(self, time: timedelta) -> None:
        await self.skipping.env.sleep(time)


@pytest.fixture(scope="module")
async def real(skipping: Skipping) -> AsyncIterator[Callable[[], Real]]:
    """Makes the real side of a play, in a tenant of its own, with a worker that knows of drafts."""
    client, drafts = skipping.env.client, Drafts()
    workflow_client, database = SkippedClient(client, QUEUE, skipping.clock), skipping.parts.database
    async with build_worker(client, QUEUE, replace(skipping.parts, handlers={DRAFT: drafts})):
        yield lambda: Real(Missions(database, workflow_client, f"tenant-{uuid4().hex[:12]}"), client, drafts)


@pytest.mark.parametrize("play", KNOWN_IN_TIME)
async def test_what_is_known_to_be_delicate_in_time_is_told_alike_by_the_workflow_and_the_rules(
    skipping: Skipping, real: Callable[[], Real], play: Play
) -> None:
    await Pair(real(), Skipped(skipping)).play(play)


@always_the_same(15)
@given(play=plays(waiting=15))
async def test_whatever_people_and_time_do_the_workflow_and_the_rules_agree(
    skipping: Skipping, real: Callable[[], Real], play: Play
) -> None:
    await Pair(real(), Skipped(skipping)).play(play)
