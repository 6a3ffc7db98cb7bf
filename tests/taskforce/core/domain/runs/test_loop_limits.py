"""Bounds of the loop, as an agent's definition and the deployment's profile set them."""

import pytest

from taskforce.core.domain.catalog.definition import instructions_of, problems_of
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.runs.loop_limits import LOOP_RANGES, LoopLimits
from tests.fixtures.agents import GOOD


def test_a_definition_changes_the_limits_that_it_names() -> None:
    said = instructions_of({**GOOD, "limits": {"max_calls_per_reply": 5, "model_patience_seconds": 0}}).loop
    assert said == {"max_calls_per_reply": 5, "model_patience_seconds": 0}
    own = LoopLimits(max_repeated_steps=9, max_calls_per_reply=20)
    assert own.changed(said) == LoopLimits(5, 9, model_patience_seconds=0)
    assert instructions_of(GOOD).loop == {}


@pytest.mark.parametrize("name", LOOP_RANGES)
def test_each_limit_has_its_range(name: str) -> None:
    least, most = LOOP_RANGES[name]
    for fits in (least, most):
        assert problems_of({**GOOD, "limits": {name: fits}}) == ()
        assert getattr(LoopLimits(**{name: fits}), name) == fits
    for beyond in (least - 1, most + 1):
        assert [one.path for one in problems_of({**GOOD, "limits": {name: beyond}})] == [f"limits.{name}"]
        with pytest.raises(Invalid) as refused:
            LoopLimits(**{name: beyond})
        assert refused.value.code == "limits_invalid"
    assert [one.path for one in problems_of({**GOOD, "limits": {name: True}})] == [f"limits.{name}"]
