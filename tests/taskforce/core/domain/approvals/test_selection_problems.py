"""What a definition selects and is not there."""

from typing import Any

import pytest

from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.domain.approvals.selection_problems import selection_problems
from taskforce.core.interfaces.tools import ToolFacts

TOOLS = (
    ToolFacts("pay", frozenset({"money"}), frozenset({"effect", "outside"})),
    ToolFacts("read", frozenset({"files"}), frozenset()),
)
NEVER = "document"


@pytest.mark.parametrize(
    ("keys", "paths"),
    [
        ({}, []),
        ({"tools": ("pay", "read"), "agents": ("clerk",)}, []),
        ({"tools": ("pay", "raed")}, ["tools[1]"]),
        ({"tools": ("raed",)}, ["tools[0]", NEVER]),
        ({"tool_tags": ("mony", "files")}, ["tool_tags[0]"]),
        ({"tool_kinds": ("question",)}, ["tool_kinds[0]", NEVER]),
        ({"tools": ("read",), "tool_kinds": ("effect",)}, [NEVER]),
        ({"tools": ("pay",), "tool_tags": ("files",)}, [NEVER]),
        ({"agents": ("clerk", "another")}, ["agents[1]"]),
    ],
)
def test_what_is_not_there_is_told_by_its_place(keys: dict[str, Any], paths: list[str]) -> None:
    found = selection_problems(Definition("one", "One", "tool_call", **keys), TOOLS, {"clerk"})
    assert [one["path"] for one in found] == paths


def test_definitions_of_other_types_select_no_tools() -> None:
    assert selection_problems(Definition("one", "One", "data_export"), (), ()) == ()
