"""Executions that are under way survive a change of the code: what old code did, new code replays step by step."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Interceptor, Replayer, WorkflowReplayResult

from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.runs.run import FINAL, RunStatus
from tests.replay.delivery_scenes import DELIVERIES
from tests.replay.history_files import HISTORIES, ending_of, load, readable
from tests.replay.planted_nondeterminism import CHANGED, PATCHED
from tests.replay.rollup_scenes import ROLLUPS
from tests.replay.scenes import SCENES
from worker import WORKFLOWS, workflow_runner
from workflows.client.connection import DATA_CONVERTER
from workflows.runtime.trace_headers import TraceHeaders

RECORDED = sorted(HISTORIES.glob("*/*.json"))
# The old sides of changes, each in a directory that names what was different.
EARLIER = sorted(HISTORIES.glob("*/*/*.json"))
# A failed run fails its workflow, a cancelled one is cancelled; so is the request of such a run.
ENDINGS = {
    "AgentRun": {str(status) for status in FINAL - {RunStatus.CANCELLED}} | {"canceled", "continued_as_new"},
    "Approval": {str(one) for one in ApprovalStatus if one is not ApprovalStatus.PENDING}
    | {"canceled", "terminated", "continued_as_new"},
    # One that is interrupted is asked for again.
    "TenantDeletion": {"done", "canceled"},
    # One that is cancelled leaves nothing behind: the next one does its work.
    "UsageRollup": {"done", "failed"},
    "WebhookDelivery": {"delivered", "failed", "stopped", "canceled"},
}
every_history = pytest.mark.parametrize(
    "path", RECORDED + EARLIER, ids=lambda path: "-".join(path.relative_to(HISTORIES).with_suffix("").parts)
)


class Replays:
    """Replays histories one by one with one replayer, which looks at the code of its workflows only once.

    Args:
        given: Where the replayer takes the histories from.
        results: What became of each.
    """

    def __init__(self, given: "asyncio.Queue[WorkflowHistory]", results: AsyncIterator[WorkflowReplayResult]) -> None:
        self._given = given
        self._results = results

    async def replay(self, path: Path) -> None:
        """Replays a recorded history."""
        history = load(path)
        await self._given.put(history)
        result = await anext(self._results)
        assert result.history is history
        if result.replay_failure:
            raise result.replay_failure


@asynccontextmanager
async def replaying(workflows: Sequence[type], interceptors: Sequence[Interceptor] = ()) -> AsyncIterator[Replays]:
    given: asyncio.Queue[WorkflowHistory] = asyncio.Queue()

    async def histories() -> AsyncIterator[WorkflowHistory]:
        while True:
            yield await given.get()

    replayer = Replayer(
        workflows=workflows,
        workflow_runner=workflow_runner(),
        data_converter=DATA_CONVERTER,
        interceptors=interceptors,
    )
    async with replayer.workflow_replay_iterator(histories()) as results:
        yield Replays(given, results)


@pytest.fixture(scope="module")
async def as_it_is() -> AsyncIterator[Replays]:
    async with replaying(WORKFLOWS) as replays:
        yield replays


@pytest.fixture(scope="module")
async def traced() -> AsyncIterator[Replays]:
    async with replaying(WORKFLOWS, [TraceHeaders()]) as replays:
        yield replays


@pytest.fixture(scope="module")
async def changed() -> AsyncIterator[Replays]:
    async with replaying(CHANGED) as replays:
        yield replays


@pytest.fixture(scope="module")
async def patched() -> AsyncIterator[Replays]:
    async with replaying(PATCHED) as replays:
        yield replays


@every_history
async def test_a_recorded_history_replays(as_it_is: Replays, path: Path) -> None:
    await as_it_is.replay(path)


@every_history
async def test_a_recorded_history_replays_where_runs_are_traced(traced: Replays, path: Path) -> None:
    await traced.replay(path)


@every_history
async def test_a_change_that_nobody_guarded_is_found_by_every_history(changed: Replays, path: Path) -> None:
    with pytest.raises(workflow.NondeterminismError):
        await changed.replay(path)


@every_history
async def test_the_same_change_behind_a_patch_replays(patched: Replays, path: Path) -> None:
    await patched.replay(path)


@pytest.mark.parametrize("registered", WORKFLOWS, ids=lambda registered: str(registered.__name__))
def test_every_ending_of_every_workflow_is_recorded(registered: type) -> None:
    name = workflow._Definition.must_from_class(registered).name
    assert name is not None
    assert {ending_of(path) for path in RECORDED if path.parent.name == name} == ENDINGS[name]


def test_every_scene_is_recorded_and_nothing_else_is() -> None:
    runs = {("AgentRun", scene.run) for scene in SCENES if scene.run}
    approvals = {("Approval", scene.approval) for scene in SCENES if scene.approval}
    deletions = {("TenantDeletion", scene.deletion) for scene in SCENES if scene.deletion}
    deliveries = {("WebhookDelivery", name) for name in DELIVERIES}
    rollups = {("UsageRollup", name) for name in ROLLUPS}
    recorded = {(path.parent.name, re.sub(r"-\d+$", "", path.stem)) for path in RECORDED}
    assert recorded == runs | approvals | deletions | deliveries | rollups


@pytest.mark.parametrize(
    ("name", "ending"), [("AgentRun/continued_as_new", "completed"), ("Approval/long", "approved")]
)
def test_what_continues_as_new_is_recorded_part_by_part(name: str, ending: str) -> None:
    parts = sorted(HISTORIES.glob(f"{name}-*.json"))
    assert len(parts) >= 3
    assert [ending_of(path) for path in parts] == ["continued_as_new"] * (len(parts) - 1) + [ending]


@every_history
def test_a_history_names_no_machine_no_file_and_no_key(path: Path) -> None:
    said = readable(path)
    assert not re.findall(r"\d+@\w|(?:^|[\s\"'])/(?:[\w.-]+/)+|site-packages|Traceback|\.py\b|sk-", said)
    assert '"identity"' not in path.read_text()
