"""The workflow, with its activities and its rows, and the pure rules, driven by the same sequences, never disagree."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from temporalio.client import Client

from tests.fixtures.approval_model import DRAFT, Drafts, Real
from tests.fixtures.approval_sequences import KNOWN, Pair, Play, always_the_same, plays
from tests.fixtures.missions import Missions, now
from tests.fixtures.stack import PROOF_KEY
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient

MakeReal = Callable[[], Real]


class Everybodys:
    """The time of a server whose time goes as everybody's does; nobody waits for it here."""

    async def now(self) -> datetime:
        return now()

    async def wait(self, time: timedelta) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
async def real(temporal: Client, parts: WorkerParts) -> AsyncIterator[MakeReal]:
    """Makes the real side of a play, in a tenant of its own, with a worker that knows of drafts."""
    queue, drafts = f"drafts-{uuid4().hex[:8]}", Drafts()
    workflow_client = WorkflowClient(temporal, queue, PROOF_KEY)
    async with build_worker(temporal, queue, replace(parts, handlers={DRAFT: drafts})):
        yield lambda: Real(Missions(parts.database, workflow_client, f"tenant-{uuid4().hex[:12]}"), temporal, drafts)


@pytest.mark.parametrize("play", KNOWN)
async def test_what_is_known_to_be_delicate_is_told_alike_by_the_workflow_and_the_rules(
    real: MakeReal, play: Play
) -> None:
    await Pair(real(), Everybodys()).play(play)


@always_the_same(20)
@given(play=plays())
async def test_whatever_people_do_the_workflow_and_the_rules_agree(real: MakeReal, play: Play) -> None:
    await Pair(real(), Everybodys()).play(play)
