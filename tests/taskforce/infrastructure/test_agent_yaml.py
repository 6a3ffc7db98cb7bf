"""Agents as YAML: what is written is read again as it was; what else is read is plain JSON or refused."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.agent_yaml import read_document, write_agent
from tests.fixtures.agents import made

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)
AWKWARD = ["yes", "no", "on", "~", "null", "0777", "0x1f", "1:30", "1e3", "2026-01-15", "<<", "=", "- a", "a: b", "#"]
PIECES = [*"{}[]&*!|>-:,#?'\"\n ", "a", "1", "true", "<<", "!!set", "!!int", "!!merge", "! ", "? "]


@given(st.dictionaries(TEXTS | st.sampled_from(AWKWARD), JSON | st.sampled_from(AWKWARD), max_size=6))
def test_what_is_written_is_read_as_it_was(definition: dict[str, object]) -> None:
    agent = made(definition=definition)
    text = write_agent(agent, agent.version("0.1.0"))
    read = read_document(text.encode())
    assert read["definition"] == definition
    assert (read["name"], read["slug"], read["version"]) == ("Counter", "counter", "0.1.0")


@pytest.mark.parametrize("text", ["数" * 59_900, "\u2028" * 59_900, "\n \n" * 11_000, "\\" * 29_000])
def test_the_longest_definition_comes_in_again(text: str) -> None:
    agent = made(definition={"system_prompt": text})
    assert read_document(write_agent(agent, agent.versions[0]).encode())["definition"] == {"system_prompt": text}


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_whatever_is_sent_is_json_or_refused(text: str) -> None:
    found: Mapping[str, object] = {}
    with suppress(Invalid):
        found = read_document(text)
    assert json.loads(json.dumps(found)) == found
