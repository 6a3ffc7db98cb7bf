"""What an approver would rather approve is the same before and after it was a row, to the last digit."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taskforce.application.approvals.requests import propose
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.application.runs.tool_calls import as_approved, call_payload
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.canonical_json import canonical_hash, is_exact
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.json_limits import Json
from taskforce.core.interfaces.llm import RequestedCall
from tests.taskforce.application.scenario import Stage

NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70)
    | st.integers(0, 308).map(lambda digits: float(f"1e{digits}"))
    | st.integers(0, 308).map(lambda digits: 10**digits)
).filter(is_exact)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


async def asked(stage: Stage) -> tuple[Actor, Request]:
    await stage.person("bob", "admin")
    request = await stage.decisions.open_call(stage.ref(await stage.asked(("pay", {"amount": 3}))), new_id())
    async with stage.database.tenant(stage.tenant_id) as records:
        return Actor(
            await load_principal(records, "bob", AccessRules(), stage.now), AccessRules(), None, stage.now
        ), request


async def after_its_row(stage: Stage, actor: Actor, request: Request, arguments: Json) -> tuple[str, str]:
    """The hash that is approved, and that of the call as it would run."""
    bound = await propose(stage.database, actor, request, arguments)
    async with stage.database.tenant(stage.tenant_id) as records:
        edited = await records.requests.proposal(request.approval.request_id, bound)
    assert edited is not None
    runs = as_approved(RequestedCall("1", "pay", "{}"), replace(request, edited=edited))
    return bound, canonical_hash(call_payload(runs))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.dictionaries(TEXTS, JSON, max_size=5))
@example(arguments={"a": [1e22, 1e23, 1.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 12345678901234567890]})
async def test_the_call_runs_with_what_was_approved(stage: Stage, arguments: dict[str, object]) -> None:
    actor, request = await asked(stage)
    bound, runs = await after_its_row(stage, actor, request, arguments)
    assert runs == bound


@pytest.mark.parametrize(
    "text", ["12345678901234567890", "1e22", "1E+23", "1.0", "0.1", "-0.0", "1e-7", "100000000000000000000000"]
)
async def test_unusual_numbers_are_kept(stage: Stage, text: str) -> None:
    actor, request = await asked(stage)
    bound, runs = await after_its_row(stage, actor, request, {"amount": json.loads(text)})
    assert runs == bound


@pytest.mark.parametrize("text", ["1e400", "10000000000000000000001", '"\\u0000"', '"\\ud800"', '{"\\u0000": 1}'])
async def test_what_does_not_survive_is_refused(stage: Stage, text: str) -> None:
    actor, request = await asked(stage)
    with pytest.raises(Invalid) as refused:
        await propose(stage.database, actor, request, {"amount": json.loads(text)})
    assert refused.value.code == "arguments_malformed"
