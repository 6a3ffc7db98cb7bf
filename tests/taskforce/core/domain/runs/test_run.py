"""The rules of runs."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.runs.run import (
    FINAL,
    HARD_MAX_SECONDS,
    HARD_MAX_STEPS,
    HARD_MAX_TOKENS,
    AgentDefinition,
    Limits,
    Run,
    RunSpec,
    RunStatus,
    StopReason,
    Totals,
)

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
AGENT = AgentDefinition("a", "A", "prompt", tools=("echo",), models=("m",))


@pytest.mark.parametrize("name", ["max_steps", "max_tokens", "max_seconds"])
def test_a_limit_is_positive_and_bounded(name: str) -> None:
    hard = {"max_steps": HARD_MAX_STEPS, "max_tokens": HARD_MAX_TOKENS, "max_seconds": HARD_MAX_SECONDS}[name]
    assert getattr(Limits(**{name: 1}), name) == 1
    assert getattr(Limits(**{name: hard}), name) == hard
    for wrong in (0, -1, hard + 1):
        with pytest.raises(Invalid) as refused:
            Limits(**{name: wrong})
        assert refused.value.code == "limits_invalid"
        assert name in refused.value.message


@given(st.integers(0, 20), st.integers(0, 200), st.floats(0, 100))
def test_a_run_goes_on_exactly_while_it_is_below_every_limit(steps: int, tokens: int, seconds: float) -> None:
    limits = Limits(max_steps=10, max_tokens=100, max_seconds=50)
    below = steps < 10 and tokens < 100 and seconds < 50
    assert (limits.reached(steps, tokens, seconds) is None) is below


def test_the_limit_that_was_reached_is_named() -> None:
    limits = Limits(max_steps=10, max_tokens=100, max_seconds=50)
    assert limits.reached(10, 0, 0) is StopReason.MAX_STEPS
    assert limits.reached(0, 100, 0) is StopReason.MAX_TOKENS
    assert limits.reached(0, 0, 50) is StopReason.MAX_SECONDS


def test_an_agent_has_the_tools_of_its_list_or_all() -> None:
    assert AGENT.may_use("echo")
    assert not AGENT.may_use("pay")
    assert replace(AGENT, tools=None).may_use("pay")
    assert not replace(AGENT, tools=()).may_use("echo")


@pytest.mark.parametrize("status", list(RunStatus))
def test_nothing_happens_to_a_run_after_its_end(status: RunStatus) -> None:
    spec = RunSpec("acme", "1", "acme:session-1", "alice", "dev", AGENT, "mission", {}, Limits(), NOW)
    run = Run(spec, status, Totals())
    assert status.is_final is (status in FINAL)
    if not status.is_final:
        run.require_open()
        return
    with pytest.raises(Conflict) as refused:
        run.require_open()
    assert refused.value.code == "run_finished"
