"""A run is pinned to a version that may still be started when the run is committed, whoever acts meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from taskforce.application.catalog.agents import Named, remove_agent
from taskforce.application.catalog.versions import InFlight, Retired, Retirement, archive_version, deprecate_version
from taskforce.application.runs.creation import AcceptedRun, create_run
from taskforce.application.runs.pinning import find_startable
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, DomainError, Missing
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.loop_limits import LoopLimits
from taskforce.core.domain.runs.run import Ending, RunStatus
from taskforce.core.domain.runs.selection import ResolvedVersion, VersionSelector
from tests.fixtures.agents import NOW, keep_published, make_acting
from tests.taskforce.application.scenario import Stage

COUNTER = VersionSelector("counter")


@pytest.fixture
async def counter(stage: Stage) -> ResolvedVersion:
    await keep_published(stage.database, stage.tenant_id)
    await stage.person("alice", "operator")
    return await find_startable(stage.database, stage.tenant_id, COUNTER)


async def start(stage: Stage, counter: ResolvedVersion) -> AcceptedRun:
    agent = counter.definition(("openai/scripted",), Terms(), LoopLimits(), {})
    return await create_run(stage.database, stage.mission(agent=agent))


async def retire(stage: Stage, how: Retirement) -> Retired:
    tool_step = await make_acting(stage.database, stage.tenant_id, "dora", NOW, "agent_designer")
    return await deprecate_version(stage.database, tool_step, Named("counter"), "0.1.0", how)


async def test_a_run_keeps_the_definition_that_it_began_with(stage: Stage, counter: ResolvedVersion) -> None:
    run = await stage.run((await start(stage, counter)).run_id)
    assert run.spec.agent.pinned == counter.pinned
    assert (run.spec.agent.agent_id, run.spec.agent.label) == (counter.agent_id, "counter@0.1.0")
    assert (run.spec.agent.tools, run.spec.agent.system_prompt) == (("calculator",), "You count.")
    rows = await stage.rows("runs", "version_id::text")
    assert rows == [(counter.pinned.version_id,)]
    details = await stage.rows("audit_events WHERE action = 'run.start'", "details - 'content_sha256'")
    assert details[0][0] == {
        "agent_id": counter.agent_id,
        "session_id": run.spec.session_id,
        "version": "0.1.0",
        "config_hash": counter.pinned.config_hash,
    }


async def test_what_was_found_may_be_gone_when_the_run_is_committed(stage: Stage, counter: ResolvedVersion) -> None:
    tool_step = await make_acting(stage.database, stage.tenant_id, "dora", NOW, "agent_designer")
    await retire(stage, Retirement(release=True))
    await start(stage, counter)
    await archive_version(stage.database, tool_step, Named("counter"), "0.1.0", Retirement())
    with pytest.raises(Conflict) as refused:
        await start(stage, counter)
    assert refused.value.code == "version_not_published"
    for run in await stage.rows("runs", "run_id::text"):
        await stage.lifecycle.end(stage.tenant_id, str(run[0]), Ending(RunStatus.CANCELLED))
    await remove_agent(stage.database, tool_step, Named("counter"))
    with pytest.raises(Missing) as gone:
        await start(stage, counter)
    assert gone.value.code == "version_not_found"
    assert len(await stage.rows("runs", "run_id")) == 1


async def test_whoever_drains_a_version_finds_every_run_that_was_let_in(stage: Stage, counter: ResolvedVersion) -> None:
    """Many start runs while one takes the version out of use: each run is either found, or was refused."""
    retired: list[Retired] = []

    async def drain() -> None:
        retired.append(await retire(stage, Retirement(InFlight.CANCEL, release=True)))

    starts = [start(stage, counter) for _ in range(24)]
    outcomes = await asyncio.gather(*starts[:12], drain(), *starts[12:], return_exceptions=True)
    let_in = {one.run_id for one in outcomes if isinstance(one, AcceptedRun)}
    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert all(isinstance(one, DomainError) and one.code == "version_draining" for one in refused)
    assert len(let_in) + len(refused) == 24
    assert set(retired[0].open_runs) == let_in


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (VersionSelector("absent"), "agent_not_found"),
        (VersionSelector(new_id()), "agent_not_found"),
        (VersionSelector("counter", number="2.0.0"), "version_not_found"),
        (VersionSelector("counter", alias="stable"), "alias_not_found"),
        (VersionSelector("counter", number="a\x00b"), "version_not_found"),
    ],
)
async def test_names_that_lead_nowhere(
    stage: Stage, counter: ResolvedVersion, wanted: VersionSelector, code: str
) -> None:
    assert counter.deprecated_at is None
    with pytest.raises(DomainError) as refused:
        await find_startable(stage.database, stage.tenant_id, wanted)
    assert refused.value.code == code


async def test_another_tenants_agent_is_not_there(stage: Stage, counter: ResolvedVersion) -> None:
    for name in ("counter", counter.agent_id):
        with pytest.raises(Missing):
            await find_startable(stage.database, f"{stage.tenant_id}-other", VersionSelector(name))


async def test_a_deprecated_version_says_since_when(stage: Stage, counter: ResolvedVersion) -> None:
    retired: Sequence[str] = (await retire(stage, Retirement(release=True))).open_runs
    assert retired == []
    found = await find_startable(stage.database, stage.tenant_id, VersionSelector(counter.agent_id, number="0.1.0"))
    assert found.deprecated_at == NOW
    with pytest.raises(Conflict) as refused:
        await find_startable(stage.database, stage.tenant_id, COUNTER)
    assert refused.value.code == "agent_not_published"
