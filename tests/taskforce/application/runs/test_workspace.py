"""The workspace of a run: what it holds at most."""

import asyncio

import pytest

from taskforce.application.runs.workspace import MAX_FILES, RunWorkspace
from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.application.scenario import Stage

AT_ONCE = 32
ROOM = 3


@pytest.fixture
async def workspace(stage: Stage) -> RunWorkspace:
    """A workspace with room for a few files more."""
    await stage.person("alice", "operator")
    run_id = (await stage.accepted()).run_id
    async with stage.database.tenant(stage.tenant_id) as records:
        for number in range(MAX_FILES - ROOM):
            await records.files.write(run_id, f"{number}.txt", b"", stage.now)
    return RunWorkspace(stage.database, stage.tenant_id, run_id, stage.clock)


async def test_a_workspace_holds_its_most_files_against_many_writes_at_once(workspace: RunWorkspace) -> None:
    written = await asyncio.gather(
        *(workspace.write(f"new-{number}.txt", b"") for number in range(AT_ONCE)), return_exceptions=True
    )
    assert [one for one in written if one is not None and not isinstance(one, ToolFailure)] == []
    assert written.count(None) == ROOM
    assert len(await workspace.files()) == MAX_FILES


async def test_files_that_are_there_are_replaced_in_a_full_workspace(workspace: RunWorkspace) -> None:
    for number in range(ROOM):
        await workspace.write(f"new-{number}.txt", b"")
    await workspace.write("0.txt", b"again")
    assert await workspace.read("0.txt") == b"again"
