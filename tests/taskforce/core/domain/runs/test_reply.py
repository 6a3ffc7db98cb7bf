"""What of a reply of any size a run takes."""

import json

from taskforce.core.domain.runs.reply import (
    MAX_ARGUMENT_VALUES,
    MAX_ARGUMENTS,
    MAX_CALL_ID,
    MAX_NAME,
    TEXT_KEPT,
    WHOLE_KEPT,
    capped_calls,
    capped_text,
    is_too_large,
)
from taskforce.core.interfaces.llm import RequestedCall


def call(arguments: str = "{}", name: str = "echo", call_id: str = "c") -> RequestedCall:
    return RequestedCall(call_id, name, arguments)


def test_of_more_calls_than_may_run_the_first_beyond_stands_for_all() -> None:
    asked = [call(call_id=f"c{number}") for number in range(20_000)]
    kept = capped_calls(asked, 32)
    assert (kept.calls, kept.dropped) == (tuple(asked[:33]), 20_000 - 33)


def test_a_reply_within_its_bounds_is_kept_as_it_is() -> None:
    asked = (call('{"text": "x"}'), call("[", "no such tool"))
    assert (capped_calls(asked, 2).calls, capped_calls(asked, 2).dropped) == (asked, 0)


def test_the_arguments_of_all_calls_together_are_bounded() -> None:
    large = "x" * (MAX_ARGUMENTS - 10)
    first, second, third = capped_calls([call(large), call("y" * 11), call("z" * 10)], 32).calls
    assert [first.arguments, third.arguments] == [large, "z" * 10]
    assert [is_too_large(one) for one in (first, second, third)] == [False, True, False]


def test_the_values_in_the_arguments_of_all_calls_together_are_bounded() -> None:
    few, many = json.dumps([1] * 2_000), json.dumps({"a": [[]] * (MAX_ARGUMENT_VALUES - 2)})
    first, second, third = capped_calls([call(many), call(few), call("[")], 32).calls
    assert [is_too_large(one) for one in (first, second, third)] == [False, True, False]


def test_names_and_ids_are_bounded() -> None:
    [kept] = capped_calls([call(name="n" * 10**6, call_id="i" * 10**6)], 32).calls
    assert (len(kept.name), kept.id) == (MAX_NAME, "call_1")
    assert capped_calls([call(call_id="i" * MAX_CALL_ID)], 32).calls[0].id == "i" * MAX_CALL_ID


def test_words_beyond_the_bound_are_a_result_of_the_step() -> None:
    assert capped_text("short", 3).whole is None
    seen = capped_text("a" * TEXT_KEPT + "b", 3)
    assert seen.text.startswith("a" * TEXT_KEPT + "\n[... cut: ")
    assert f"read_result(step=3, call=0, offset={TEXT_KEPT})" in seen.text
    assert seen.whole == "a" * TEXT_KEPT + "b"


def test_of_words_without_end_the_beginning_is_kept() -> None:
    whole = capped_text("a" * (WHOLE_KEPT + 7), 1).whole
    assert whole is not None
    assert whole == "a" * WHOLE_KEPT + "\n[... 7 characters more were not kept ...]"
