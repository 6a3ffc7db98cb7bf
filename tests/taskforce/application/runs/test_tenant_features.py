"""What a tenant was not given is neither offered to the model nor run for it, at the moment of the effect either."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskforce.application.access.policy_documents import StoredPolicies
from taskforce.application.runs.model_step import ModelStep
from taskforce.application.runs.model_turn import ModelStepInput
from taskforce.application.runs.tool_checks import CLEARED_FOR, ToolCallPolicy
from taskforce.application.runs.tool_step import ToolStep
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.core.domain.tenants.tenant import FEATURES, TenantSettings
from taskforce.core.interfaces.llm import ModelCall, ModelReply, ModelRequest, RequestedCall
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.tools.declaration import tool
from taskforce.infrastructure.tools.registry import ToolRegistry
from tests.fixtures import probe_tools
from tests.taskforce.application.scenario import AGENT, RULES, Call, Stage

SEARCH: Call = ("search", {"words": "x"})
LACKS = "Refused: search needs the feature rag, which your tenant lacks."


@tool(idempotent=True, quick=True, feature="rag")
async def search(words: str) -> str:
    """Searches what the tenant has stored.

    Args:
        words: What for.
    """
    return f"found {words}"


@tool(needs_approval=True, feature="long_term_memory")
async def remember(words: str) -> str:
    """Keeps something for later runs.

    Args:
        words: What.
    """
    return f"kept {words}"


TOOLS = ToolRegistry([*probe_tools.TOOLS, search, remember])


class Recorded:
    """A model that asks for a search, and keeps what it was offered."""

    def __init__(self) -> None:
        self.offered: list[str] = []

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelReply:
        self.offered = [spec.name for spec in request.tools]
        calls = (ModelCall("openai/scripted", TokenCounts(1, 1), 1),)
        return ModelReply("Let me search.", (RequestedCall("call_0", "search", '{"words": "x"}'),), calls)


class Scene:
    """A stage whose tools need features."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.model = Recorded()
        live, clock, prices = stage.live, stage.clock, stage.prices
        tool_call_policy = ToolCallPolicy(
            TOOLS, clock, RULES, StoredPolicies(stage.database), prices=prices, books=stage.books
        )
        parts = (stage.database, stage.run_cache, tool_call_policy)
        said: dict[str, Any] = {
            "tools": TOOLS,
            "live": live,
            "clock": clock,
            "prices": prices,
            "budgets": stage.budgets,
        }
        self.tool_step = ToolStep(*parts, http=GuardedHttp(), **said)
        self.model_step = ModelStep(*parts, model=self.model, **said)

    async def give(self, *features: str) -> None:
        """The tenant has these features from now on, and no others."""
        await self.stage.person("alice", "operator")
        async with self.stage.database.tenant(self.stage.tenant_id) as records:
            tenant = await records.tenant.locked()
            assert tenant is not None
            await records.tenant.save(replace(tenant, settings=TenantSettings(features=frozenset(features))))

    async def think(self, run_id: str, step: int = 1) -> list[int] | None:
        """One turn of the model; the calls that may go on."""
        thought = await self.model_step.run(ModelStepInput(self.stage.tenant_id, run_id, step, attempt=1))
        return None if thought.allowed is None else [one.call for one in thought.allowed]


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return Scene(stage)


@pytest.mark.parametrize(
    ("features", "there"),
    [((), set()), (("rag",), {"search"}), (("approval_workflows",), set()), (FEATURES, {"search", "remember"})],
)
async def test_a_tool_is_offered_to_tenants_that_have_its_feature(
    scene: Scene, features: tuple[str, ...], there: set[str]
) -> None:
    await scene.give(*features)
    await scene.think((await scene.stage.accepted()).run_id)
    assert set(scene.model.offered) & {"search", "remember"} == there
    # What needs no feature is there for all.
    assert {"echo", "pay"} <= set(scene.model.offered)


async def test_a_tenant_without_settings_has_all_tools(scene: Scene) -> None:
    assert await scene.think((await scene.stage.accepted()).run_id) == [1]
    assert {"search", "remember"} <= set(scene.model.offered)


async def test_a_call_without_its_feature_is_refused_and_the_model_is_told_which(scene: Scene) -> None:
    await scene.give("long_term_memory", "approval_workflows")
    run_id = (await scene.stage.accepted()).run_id
    assert await scene.think(run_id) == []
    entry = await scene.stage.observed(run_id)
    assert entry is not None
    assert (entry.status, entry.text) == (CallStatus.REFUSED, LACKS)
    assert [row[2] for row in await scene.stage.rows("audit_events ORDER BY at", "action, actor_id, reason")] == [
        None,
        LACKS,
    ]


async def test_the_feature_counts_for_runs_that_ask_apart_too(scene: Scene) -> None:
    await scene.give()
    run_id = await scene.stage.asked(SEARCH, ("echo", {"text": "x"}), ("no_such_tool", {}))
    permits = await scene.tool_step.authorize(scene.stage.tenant_id, run_id, 1)
    assert [one.call for one in permits] == [2]
    names = (await scene.stage.told(run_id, call=3)).partition("Tools: ")[2]
    assert "echo" in names
    assert "search" not in names


async def test_a_feature_that_was_taken_away_counts_at_the_moment_of_the_effect(scene: Scene) -> None:
    await scene.give("rag")
    run_id = (await scene.stage.accepted()).run_id
    assert await scene.think(run_id) == [1]
    await scene.give()
    scene.stage.now += CLEARED_FOR + timedelta(milliseconds=1)
    seen = await scene.tool_step.run(scene.stage.ref(run_id), 1, (), None)
    assert (seen.status, await scene.stage.told(run_id)) == (CallStatus.REFUSED, LACKS)


async def test_with_its_feature_a_tool_runs(scene: Scene) -> None:
    await scene.give("rag")
    run_id = await scene.stage.asked(SEARCH)
    seen = await scene.tool_step.run(scene.stage.ref(run_id), 1, (), None)
    assert (seen.status, await scene.stage.told(run_id)) == (CallStatus.SUCCEEDED, "found x")


async def test_an_approval_does_not_make_up_for_a_feature(scene: Scene) -> None:
    await scene.give("long_term_memory")
    run_id = await scene.stage.asked(("remember", {"words": "x"}))
    request_id = new_id()
    await scene.stage.decisions.open_call(scene.stage.ref(run_id), request_id)
    await scene.stage.approve(request_id)
    await scene.give("rag")
    seen = await scene.tool_step.run(scene.stage.ref(run_id), 1, (), request_id)
    assert seen.status is CallStatus.REFUSED
    assert "long_term_memory" in await scene.stage.told(run_id)


@pytest.mark.parametrize("features", [(), ("rag",), tuple(FEATURES)])
async def test_no_feature_and_no_lack_of_one_lets_a_call_run_unapproved(
    scene: Scene, features: tuple[str, ...]
) -> None:
    await scene.give(*features)
    agent = replace(AGENT, require_approval=("echo",))
    run_id = await scene.stage.asked(("pay", {"amount": 3}), ("echo", {"text": "x"}), agent=agent)
    permits = await scene.tool_step.authorize(scene.stage.tenant_id, run_id, 1)
    assert [(one.call, one.approval) for one in permits] == [(1, True), (2, True)]
    for call in (1, 2):
        seen = await scene.tool_step.run(scene.stage.ref(run_id, call), 1, (), None)
        assert seen.status is CallStatus.REFUSED
        assert "no approval" in await scene.stage.told(run_id, call)
