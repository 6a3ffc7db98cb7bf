"""The form of an approval definition: every problem at once, and written as it is read."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.approvals.definition_documents import as_document, parse
from taskforce.core.domain.approvals.definitions import BUILT_IN, Definition
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.canonical_json import is_exact
from taskforce.core.domain.errors import Invalid

Document = dict[str, Any]
HOUR = 3_600
STRICT: Document = {
    "workflow_id": "strict-publish",
    "name": "Strict Agent Publishing",
    "description": "Requires 2 approvers for production agents",
    "request_type": "agent_publish",
    "required_approvers": 2,
    "allowed_approver_roles": ["admin", "agent_designer"],
    "auto_expire_hours": 48,
    "notify_on_create": True,
    "notify_on_action": True,
}
EVERYTHING: Document = {
    **STRICT,
    "request_type": "tool_call",
    "rejections_to_close": 2,
    "allowed_approvers": ["bob"],
    "allow_self_approval": True,
    "allow_service_accounts": True,
    "independence_hours": 1.5,
    "comment_required": True,
    "signal_channel": True,
    "actions": [
        {"after_hours": 1.5, "do": "remind"},
        {"after_hours": 24, "do": "widen", "roles": ["cfo"], "people": ["u-17"]},
        {"after_hours": 36, "do": "reassign", "people": ["erin"]},
    ],
    "on_approved": "wait",
    "notify_on_create": False,
    "notify_on_action": False,
    "enabled": False,
    "tools": ["pay"],
    "tool_tags": ["money"],
    "tool_kinds": ["effect"],
    "requires_approval": False,
    "agents": ["clerk"],
    "metadata": {"owner": {"team": ["risk", 7, None]}},
}


def check(schema: object) -> Sequence[str]:
    return ["is no schema."] if schema == {"type": "objekt"} else []


def read(document: object, *, signals: bool = True) -> Definition:
    return parse(document, check, signals=signals)


def problems(document: object, *, signals: bool = True) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        read(document, signals=signals)
    assert refused.value.code == "definition_invalid"
    found = refused.value.details["problems"]
    assert isinstance(found, list)
    together: dict[str, str] = {}
    for one in found:
        together[one["path"]] = f"{together.get(one['path'], '')} {one['problem']}".strip()
    return together


def test_the_guides_words_mean_what_they_say() -> None:
    terms = Terms(required_approvers=2, allowed_roles=("admin", "agent_designer"), expire_seconds=48 * HOUR)
    assert read(STRICT) == Definition(
        "strict-publish",
        "Strict Agent Publishing",
        "agent_publish",
        terms,
        "Requires 2 approvers for production agents",
    )


def test_everything_is_read_and_written_as_it_was() -> None:
    found = read(EVERYTHING)
    assert as_document(found) == EVERYTHING
    assert found.terms == Terms(
        required_approvers=2,
        rejections_to_close=2,
        allowed_roles=("admin", "agent_designer"),
        self_approval=True,
        service_accounts=True,
        independence_seconds=5_400,
        expire_seconds=48 * HOUR,
        signal_channel=True,
        allowed_people=("bob",),
        comment_required=True,
        actions=(
            TimedAction(ActionKind.REMIND, 5_400),
            TimedAction(ActionKind.WIDEN, 24 * HOUR, Deciders(("cfo",), ("u-17",))),
            TimedAction(ActionKind.REASSIGN, 36 * HOUR, Deciders(people=("erin",))),
        ),
        carries_out=False,
    )


def test_what_selects_tools_is_for_calls_only_and_kinds_are_known() -> None:
    other = {**STRICT, "tool_tags": ["files"], "requires_approval": True}
    assert set(problems(other)) == {"tool_tags", "requires_approval"}
    assert set(problems({**EVERYTHING, "tool_kinds": ["effekt"]})) == {"tool_kinds"}
    assert read({**EVERYTHING, "requires_approval": None}).gates


NAMES = st.lists(st.text("abcdef.-", min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
ACTIONS = st.builds(
    lambda seconds, do, roles: {"after_hours": seconds / HOUR, "do": do, "roles": roles},
    st.integers(1, 71 * HOUR),
    st.sampled_from(["remind", "widen", "reassign"]),
    NAMES,
)
# Others are refused, for no float says them exactly.
NUMBERS = st.integers().filter(is_exact)
DOCUMENTS = st.fixed_dictionaries(
    {
        # No path can name `.` and `..`.
        "workflow_id": st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z").filter(lambda one: one not in {".", ".."}),
        "name": st.text("abc def", min_size=1, max_size=20),
        "request_type": st.sampled_from([*BUILT_IN, "custom"]),
    },
    optional={
        "required_approvers": st.integers(1, 100),
        "rejections_to_close": st.integers(1, 100),
        "allowed_approver_roles": NAMES,
        "auto_expire_hours": st.integers(72 * HOUR, 366 * 24 * HOUR).map(lambda seconds: seconds / HOUR),
        "actions": st.lists(ACTIONS, max_size=5),
        "on_approved": st.sampled_from(["carry_out", "wait"]),
        "enabled": st.booleans(),
        "comment_required": st.booleans(),
        "allow_service_accounts": st.booleans(),
        "independence_hours": st.integers(0, 366 * 24 * HOUR).map(lambda seconds: seconds / HOUR),
        "metadata": st.dictionaries(st.text(max_size=5), NUMBERS | st.text(max_size=5), max_size=3),
    },
)


@given(DOCUMENTS)
def test_what_is_written_is_read_as_the_same(document: Document) -> None:
    found = read(document)
    written = as_document(found)
    assert read(json.loads(json.dumps(written))) == found
    assert as_document(read(written)) == written


@pytest.mark.parametrize("hours", [-1, 366 * 24 + 1, "24", None, True])
def test_hours_of_independence_are_none_or_a_time(hours: object) -> None:
    assert problems({**STRICT, "independence_hours": hours}).keys() == {"independence_hours"}
    assert read({**STRICT, "independence_hours": 0}).terms.independence_seconds == 0


def test_every_problem_is_told_at_once() -> None:
    document: Document = {
        "workflow_id": "no good",
        "name": "",
        "request_type": "Publish",
        "required_aprovers": 2,
        "required_approvers": 0,
        "rejections_to_close": True,
        "allowed_approver_roles": "admin",
        "allowed_approvers": ["", 7],
        "auto_expire_hours": 0,
        "allow_service_accounts": 1,
        "independence_hours": False,
        "actions": [
            {"after_hours": "1", "do": "remind"},
            {"after_hours": 1, "do": "escalate"},
            {"do": "remind", "whom": "bob"},
            {"after_hours": 2, "do": "expire", "roles": ["admin"]},
            7,
        ],
        "on_approved": "now",
        "signal_channel": True,
        "enabled": "yes",
        "payload_schema": {"type": "objekt"},
        "tools": ["pay"],
        "metadata": [],
    }
    assert problems(document, signals=False).keys() == {
        "workflow_id", "name", "request_type", "required_aprovers", "required_approvers", "rejections_to_close",
        "allowed_approver_roles", "allowed_approvers[0]", "allowed_approvers[1]", "auto_expire_hours",
        "actions[0].after_hours", "actions[1].do", "actions[2]", "actions[2].whom", "actions[3]", "actions[4]",
        "on_approved", "signal_channel", "enabled", "payload_schema", "tools", "metadata", "allow_service_accounts",
        "independence_hours",
    }  # fmt: skip
    assert problems({})["document"].count("is missing") == 3
    assert problems([])["document"] == "must be an object."


def test_a_slip_of_the_pen_gets_a_hint() -> None:
    assert problems(STRICT | {"required_aprovers": 2})["required_aprovers"].endswith("'required_approvers'?")
    assert problems(STRICT | {"request_type": "agent_publsh"})["request_type"].endswith("'agent_publish'?")


def test_terms_that_make_no_sense_together() -> None:
    few = STRICT | {"allowed_approvers": ["bob"], "allowed_approver_roles": []}
    assert problems(few)["document"] == "Fewer people may decide than must approve."
    assert "Somebody" in problems(STRICT | {"allowed_approver_roles": [], "required_approvers": 1})["document"]
    late = {"actions": [{"after_hours": 48, "do": "remind"}]}
    assert "before the request expires" in problems(STRICT | late)["document"]
    assert "name the roles" in problems(STRICT | {"actions": [{"after_hours": 1, "do": "widen"}]})["document"]


def test_it_expires_when_one_of_both_places_says_so() -> None:
    ends = {"after_hours": 24, "do": "expire"}
    unsaid = {name: value for name, value in STRICT.items() if name != "auto_expire_hours"}
    assert read(unsaid).terms.expire_seconds == 72 * HOUR
    for document in (unsaid | {"actions": [ends]}, STRICT | {"actions": [ends], "auto_expire_hours": 24}):
        found = read(document)
        assert (found.terms.expire_seconds, found.terms.actions) == (24 * HOUR, ())
        assert as_document(found)["auto_expire_hours"] == 24
    assert "actions" in problems(STRICT | {"actions": [ends]})
    assert "more than once" in problems(unsaid | {"actions": [ends, ends]})["actions"]


def test_whoever_names_people_only_means_these_people() -> None:
    people = {"allowed_approvers": ["bob", "carol", "bob"]}
    named = {name: value for name, value in STRICT.items() if name != "allowed_approver_roles"}
    assert read(named | people).terms.deciders == Deciders((), ("bob", "carol"))
    assert read(named).terms.deciders == Deciders(("admin",))
    assert read(STRICT | people).terms.deciders == Deciders(("admin", "agent_designer"), ("bob", "carol"))


def test_signals_need_the_deployments_word() -> None:
    assert read(STRICT | {"signal_channel": False}, signals=False).terms.signal_channel is False
    assert "profile" in problems(STRICT | {"signal_channel": True}, signals=False)["signal_channel"]


def test_a_type_of_ones_own_states_its_payload() -> None:
    schema = {"type": "object", "required": ["days"]}
    assert read(STRICT | {"request_type": "holiday", "payload_schema": schema}).payload_schema == schema
    assert "payload_schema" in problems(STRICT | {"request_type": "holiday"})["request_type"]
    # The guide's own custom type has none (9.3).
    assert read(STRICT | {"request_type": "custom", "metadata": {"custom_type": "holiday"}}).decides == "holiday"
    for odd in (7, "", "A b"):
        assert "metadata" in problems(STRICT | {"request_type": "custom", "metadata": {"custom_type": odd}})
    assert "payload_schema" in problems(STRICT | {"request_type": "tool_call", "payload_schema": schema})


def test_tools_and_agents_are_for_tool_calls() -> None:
    assert read(STRICT | {"tools": [], "agents": []}).tools == ()
    assert problems(STRICT | {"tools": ["pay"], "agents": ["clerk"]}).keys() == {"tools", "agents"}


def test_what_is_read_can_be_stored_and_read_again() -> None:
    def with_facts(length: int) -> Document:
        return STRICT | {"metadata": {"a": "x" * length}}

    longest = next(length for length in range(49_990, 0, -1) if not _refused(with_facts(length)))
    assert len(json.dumps(as_document(read(with_facts(longest))), separators=(",", ":"))) == 50_000
    assert as_document(read(as_document(read(with_facts(longest))))) == as_document(read(with_facts(longest)))


def _refused(document: Document) -> bool:
    try:
        read(document)
    except Invalid:
        return True
    return False


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"a": "x" * 50_000}},
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": {1, 2}}},
        {"allowed_approver_roles": ["r"] * 101},
        {"actions": [{"after_hours": 1, "do": "remind"}] * 51},
        {"description": "a\x00"},
        {"description": None},
        {"auto_expire_hours": float("inf")},
        {"auto_expire_hours": 366 * 24 + 1},
        {"auto_expire_hours": True},
    ],
)
def test_what_is_too_much_or_cannot_be_stored(more: Document) -> None:
    assert problems(STRICT | more)
