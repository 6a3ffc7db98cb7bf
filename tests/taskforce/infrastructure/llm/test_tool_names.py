import re

import pytest

from taskforce.core.interfaces.llm import ChatMessage, RequestedCall
from taskforce.infrastructure.llm.tool_names import WireIds, offered_name, wire_name

OFFERED = ("calculator", "write_file", "http_get", "http_post")
SOUND = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("calculator", "calculator"),
        ("functions.calculator", "calculator"),
        ("functions/calculator", "calculator"),
        ("default_api:calculator", "calculator"),
        ("functions.calculator:0", "calculator"),
        ("calculator:3", "calculator"),
        ("calculator<|channel|>commentary", "calculator"),
        ("calculator<|constrain|>json", "calculator"),
        ("<tool_call>calculator", "calculator"),
        ("calculator()", "calculator"),
        (" calculator\n", "calculator"),
        ("`calculator`", "calculator"),
        ('"calculator"', "calculator"),
        ("Calculator", "calculator"),
        ("write file", "write_file"),
        ("write-file", "write_file"),
        ("WRITE_FILE", "write_file"),
    ],
)
def test_a_spelling_leads_to_the_tool_that_is_meant(written: str, meant: str) -> None:
    assert offered_name(written, OFFERED) == meant


@pytest.mark.parametrize("written", ["delete_everything", "calculators", "calc", "http", "", "functions.", "<|", "."])
def test_a_name_that_means_no_tool_stays_as_it_was_written(written: str) -> None:
    assert offered_name(written, OFFERED) == written


def test_a_spelling_that_may_mean_two_tools_means_none() -> None:
    assert offered_name("Write File", ("write_file", "write-file")) == "Write File"
    assert offered_name("write-file", ("write_file", "write-file")) == "write-file"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("functions.calculator", "calculator"),
        ("search the web", "search_the_web"),
        ("server.tool", "server_tool"),
        ("search<|channel|>commentary", "search"),
        ("x" * 200, "x" * 64),
        ("", "unnamed_tool"),
        ("查找", "unnamed_tool"),
    ],
)
def test_a_name_is_sent_back_so_that_every_provider_takes_it(written: str, sent: str) -> None:
    assert wire_name(written, OFFERED) == sent
    assert SOUND.fullmatch(sent)


def call(given: str) -> RequestedCall:
    return RequestedCall(given, "calculator", "{}")


def told(given: str) -> ChatMessage:
    return ChatMessage("tool", "seen", tool_call_id=given)


class TestIds:
    def test_sound_ones_stay(self) -> None:
        ids = WireIds()
        assert ids.of_calls([call("call_1"), call("toolu-2")]) == ["call_1", "toolu-2"]
        assert [ids.of_observation(told("call_1")), ids.of_observation(told("toolu-2"))] == ["call_1", "toolu-2"]

    @pytest.mark.parametrize("given", ["", "functions.calculator:0", "x" * 65, "a b", "id\n"])
    def test_others_are_replaced_in_call_and_observation_alike(self, given: str) -> None:
        ids = WireIds()
        (sent,) = ids.of_calls([call(given)])
        assert SOUND.fullmatch(sent)
        assert ids.of_observation(told(given)) == sent

    def test_two_calls_with_one_id_are_told_in_their_order(self) -> None:
        ids = WireIds()
        first, second = ids.of_calls([call("same"), call("same")])
        assert first != second
        assert [ids.of_observation(told("same")), ids.of_observation(told("same"))] == [first, second]

    def test_an_id_that_comes_again_in_a_later_step_is_another(self) -> None:
        ids = WireIds()
        (first,) = ids.of_calls([call("call_0")])
        ids.of_observation(told("call_0"))
        (second,) = ids.of_calls([call("call_0")])
        assert (first, second != first) == ("call_0", True)
        assert ids.of_observation(told("call_0")) == second

    def test_the_same_conversation_has_the_same_ids(self) -> None:
        calls = [call("a b"), call("a b"), call("")]
        assert WireIds().of_calls(calls) == WireIds().of_calls(calls)

    def test_an_observation_without_a_call_has_a_sound_id(self) -> None:
        assert SOUND.fullmatch(WireIds().of_observation(told("no such call")))
