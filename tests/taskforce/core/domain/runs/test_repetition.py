"""A model that repeats itself is noticed; one that polls, tries another way or was asked again is not."""

from datetime import UTC, datetime

import pytest

from taskforce.core.domain.runs.repetition import needs_hint, repeated_steps
from taskforce.core.domain.runs.transcript import CallStatus, Entry, EntryKind
from taskforce.core.interfaces.llm import RequestedCall

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
MISSION = [Entry(0, 0, EntryKind.MISSION, "Wait for it.", AT)]


def step(number: int, arguments: str = '{"a": 1, "b": 2}', result: str = "pending", times: int = 1) -> list[Entry]:
    calls = tuple(RequestedCall(f"c{number}-{place}", "look", arguments) for place in range(times))
    said = Entry(number, 0, EntryKind.REPLY, f"Look {number}.", AT, tool_calls=calls)
    seen = [
        Entry(number, place, EntryKind.OBSERVATION, result, AT, tool="look", status=CallStatus.SUCCEEDED)
        for place in range(1, times + 1)
    ]
    return [said, *seen]


def steps(*each: list[Entry]) -> list[Entry]:
    return [*MISSION, *(entry for one in each for entry in one)]


def test_the_same_calls_with_the_same_results_are_counted_step_by_step() -> None:
    assert repeated_steps(MISSION) == 0
    assert repeated_steps(steps(step(1), step(2), step(3))) == 3
    assert repeated_steps(steps(step(1, times=8))) == 1


def test_how_the_arguments_are_written_does_not_matter() -> None:
    assert repeated_steps(steps(step(1), step(2, '{"b":2,"a":1}'), step(3, '{ "a": 1, "b": 2 }'))) == 3


@pytest.mark.parametrize(
    "between",
    [step(2, result="running"), step(2, '{"a": 2}'), step(2, times=2), [Entry(2, 0, EntryKind.REPLY, "Hm.", AT)]],
    ids=["another result", "other arguments", "another call beside it", "words"],
)
def test_anything_else_in_between_begins_a_new_count(between: list[Entry]) -> None:
    assert repeated_steps(steps(step(1), between, step(3))) == 1


def test_a_message_of_a_person_begins_a_new_count() -> None:
    again = [Entry(3, -1, EntryKind.WORD, "Try again.", AT, author_id="alice"), *step(3)]
    assert repeated_steps(steps(step(1), step(2), again)) == 1
    assert repeated_steps(steps(step(1), step(2), again, step(4))) == 2


def test_the_reference_to_a_result_that_is_shown_cut_makes_no_difference() -> None:
    cut = [f"long\n[... cut: read on with read_result(step={n}, call=1, offset=7000) ...]" for n in (1, 2)]
    assert repeated_steps(steps(step(1, result=cut[0]), step(2, result=cut[1]))) == 2


def test_an_answer_repeats_nothing() -> None:
    assert repeated_steps(steps(step(1), [Entry(2, 0, EntryKind.REPLY, "Done.", AT)])) == 0


@pytest.mark.parametrize(("most", "told"), [(6, 3), (5, 3), (2, 2), (3, 2), (100, 50)])
def test_a_model_is_told_from_half_of_what_it_may(most: int, told: int) -> None:
    assert [needs_hint(told - 1, most), needs_hint(told, most)] == [False, True]
