"""Which definition counts, who may make one, and what an agent may say of its own approvals."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from taskforce.core.domain.approvals.definitions import (
    BUILT_IN,
    Definition,
    Source,
    agent_terms,
    check_author,
    check_known,
    choose,
    merged,
    requires_approval,
)
from taskforce.core.domain.approvals.terms import ActionKind, Deciders, Terms, TimedAction
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission
from taskforce.core.interfaces.tools import ToolFacts

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def definition(definition_id: str = "one", request_type: str = "tool_call", **keys: Any) -> Definition:
    return Definition(definition_id, definition_id, request_type, **keys)


BOTH = definition("z-both", tools=("pay",), agents=("clerk",))
TOOL = definition("y-tool", tools=("pay", "send"))
AGENT = definition("x-agent", agents=("clerk",))
GENERAL = definition("w-general")
ALL = (BOTH, TOOL, AGENT, GENERAL)


@pytest.mark.parametrize(
    ("tool", "agent", "expected"),
    [
        ("pay", "clerk", BOTH),
        ("pay", "other", TOOL),
        ("send", "clerk", TOOL),
        ("read", "clerk", AGENT),
        ("read", "other", GENERAL),
        (None, None, GENERAL),
    ],
)
def test_the_most_specific_counts_in_whatever_order_they_come(
    tool: str | None, agent: str | None, expected: Definition
) -> None:
    for order in permutations(ALL):
        called = None if tool is None else ToolFacts(tool)
        assert choose(order, "tool_call", tool=called, agent=[agent, "0190aaaa"] if agent else ()) == expected


PAY = ToolFacts("pay", frozenset({"money", "write"}), frozenset({"effect", "outside"}))
BY_TAG, BY_KIND = definition("v-tag", tool_tags=("money",)), definition("u-kind", tool_kinds=("effect",))


def test_a_name_goes_before_a_tag_a_tag_before_a_kind_and_a_kind_before_an_agent() -> None:
    for fewer in range(4):
        rest = (TOOL, BY_TAG, BY_KIND, AGENT)[fewer:]
        for order in permutations(rest):
            assert choose(order, "tool_call", tool=PAY, agent=("clerk",)) == rest[0]


@pytest.mark.parametrize(
    ("keys", "gated"),
    [
        ({"tools": ("pay",)}, True),
        ({"tools": ("send",)}, False),
        ({"tool_tags": ("money", "files")}, True),
        ({"tool_tags": ("files",)}, False),
        ({"tool_kinds": ("effect",)}, True),
        ({"tool_kinds": ("question",)}, False),
        ({"tools": ("pay",), "tool_tags": ("files",)}, False),
        ({"tools": ("pay",), "agents": ("clerk",)}, True),
        ({"tools": ("pay",), "agents": ("other",)}, False),
        ({"tools": ("pay",), "enabled": False}, False),
        ({"tools": ("pay",), "requires_approval": False}, False),
        # Whoever selects no tool says who decides, and asks for nothing, unless they say so.
        ({}, False),
        ({"agents": ("clerk",)}, False),
        ({"agents": ("clerk",), "requires_approval": True}, True),
        ({"requires_approval": True}, True),
    ],
)
def test_a_definition_requires_approval_of_the_calls_that_it_selects(keys: dict[str, Any], gated: bool) -> None:
    assert requires_approval([definition(**keys)], PAY, ("clerk", "0190aaaa")) is gated


def test_no_more_specific_definition_exempts_a_call() -> None:
    exempt = definition("exempt", tools=("pay",), agents=("clerk",), requires_approval=False)
    assert requires_approval([exempt, BY_KIND], PAY, ("clerk",))
    assert choose([exempt, BY_KIND], "tool_call", tool=PAY, agent=("clerk",)) == exempt


def test_definitions_of_other_types_require_no_approval_of_calls() -> None:
    assert not requires_approval([definition("one", "data_export", requires_approval=True)], PAY, ())


def test_of_equals_the_tenants_own_goes_first_and_then_the_smallest_id() -> None:
    profile = definition("a", source=Source.PROFILE)
    own = [definition("c"), definition("b")]
    assert choose((profile, *own), "tool_call") == own[1]
    assert choose((profile,), "tool_call") == profile
    # However specific it is: a profile's for the tool goes before the tenant's own for everything.
    for_tool = definition("z", tools=("pay",), source=Source.PROFILE)
    assert choose((for_tool, *own), "tool_call", tool=ToolFacts("pay")) == for_tool


def test_others_do_not_count() -> None:
    assert choose((definition(enabled=False), definition("two", "data_export")), "tool_call") is None
    assert choose((), "tool_call") is None


def test_a_custom_definition_is_for_the_type_that_it_names() -> None:
    export = definition("export", "custom", metadata={"custom_type": "data_export"})
    plain = definition("plain", "custom")
    assert choose((export, plain), "data_export") == export
    assert choose((export, plain), "custom") == plain
    assert definition("one", "tool_call", metadata={"custom_type": "other"}).decides == "tool_call"


def test_a_tenants_own_stands_in_the_place_of_the_profiles() -> None:
    profile = [definition("b", source=Source.PROFILE), definition("a", source=Source.PROFILE)]
    own = [definition("b", "data_export", enabled=False), definition("c")]
    assert merged(own, profile) == (profile[1], *own)


@pytest.mark.parametrize("wrong", ["", "a b", "a/b", "ä", "x" * 65, "a\n"])
def test_an_id_that_is_none(wrong: str) -> None:
    with pytest.raises(Invalid) as refused:
        definition(wrong)
    assert refused.value.code == "definition_invalid"


def test_signals_count_only_while_the_deployment_takes_them() -> None:
    with_signals = definition(terms=Terms(signal_channel=True, required_approvers=2))
    assert with_signals.within(signals=True) is with_signals
    assert with_signals.within(signals=False).terms == Terms(required_approvers=2)


def test_a_type_that_nobody_defined_is_refused() -> None:
    check_known("holiday", definition("one", "holiday"))
    for built_in in BUILT_IN:
        check_known(built_in, None)
    for unknown in ("holiday", "custom", "agent_publsh"):
        with pytest.raises(Invalid) as refused:
            check_known(unknown, None)
        assert refused.value.code == "request_type_unknown"


# Who may make one


@pytest.mark.parametrize("request_type", BUILT_IN)
def test_whoever_says_who_decides_could_do_the_thing_itself(request_type: str) -> None:
    one, custom = definition("one", request_type), definition("two", "custom", metadata={"custom_type": request_type})
    check_author(SYSTEM_ROLES["admin"].permissions, one)
    for about in (one, custom):
        with pytest.raises(Forbidden) as refused:
            check_author({Permission.POLICY_MANAGE}, definition("free", "custom"), about)
        assert refused.value.code == "permission_denied"


def test_both_what_was_and_what_shall_be_counts() -> None:
    held = {Permission.POLICY_MANAGE, Permission.AGENT_UPDATE}
    publish, escalate = definition("one", "agent_publish"), definition("one", "permission_escalation")
    check_author(held, publish, publish)
    for pair in ((publish, escalate), (escalate, publish)):
        with pytest.raises(Forbidden):
            check_author(held, *pair)
    check_author(held, definition("one", "holiday"))


# What an agent says


SOX = {"name": "Financial Analysis Agent", "require_approval": True, "approval_roles": ["compliance_officer", "cfo"]}
CHAIN = (
    TimedAction(ActionKind.REMIND, 60),
    TimedAction(ActionKind.WIDEN, 120, Deciders(("admin",))),
    TimedAction(ActionKind.REASSIGN, 180, Deciders(people=("bob",))),
)
USUAL = Terms(required_approvers=2, allowed_people=("bob",), comment_required=True, actions=CHAIN)


def test_the_roles_of_an_agent_narrow_down_who_decides_its_calls() -> None:
    wide = replace(USUAL, allowed_roles=("admin", "cfo", "compliance_officer"))
    expected = replace(USUAL, allowed_roles=("cfo", "compliance_officer"), allowed_people=(), actions=CHAIN[:1])
    assert agent_terms(SOX, None, wide) == expected
    assert agent_terms({"require_approval": True}, None, USUAL) == USUAL


def test_roles_that_may_not_decide_leave_those_who_may() -> None:
    assert agent_terms({"approval_roles": ["nobody_has_this"]}, None, USUAL) == USUAL


def test_an_agent_narrows_a_definition_and_never_goes_around_it() -> None:
    terms = replace(USUAL, allowed_roles=("cfo", "admin"))
    assert agent_terms(SOX, definition(terms=terms), Terms()).allowed_roles == ("cfo",)
    assert agent_terms(SOX, definition(terms=USUAL), Terms()) == USUAL
    assert agent_terms({}, definition(terms=USUAL), Terms()) == USUAL


@pytest.mark.parametrize("roles", ["cfo", [], [1], [""], {"cfo": True}])
def test_roles_that_are_none(roles: object) -> None:
    with pytest.raises(Invalid) as refused:
        agent_terms({"approval_roles": roles}, None, USUAL)
    assert refused.value.code == "definition_invalid"
