"""What the model is shown of a run."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.runs.todo import TodoItem, TodoList, TodoStatus
from taskforce.core.domain.runs.transcript import (
    SHOWN_LIMIT,
    SHOWN_TAIL,
    Entry,
    EntryKind,
    Exchange,
    conversation,
    mission_text,
    shown,
)
from taskforce.core.interfaces.llm import ChatMessage, RequestedCall

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
WORDS = st.text(st.characters(codec="utf-8"), max_size=60)


def size(messages: tuple[ChatMessage, ...]) -> int:
    return sum(
        len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls) + 16
        for message in messages
    )


@st.composite
def steps(draw: st.DrawFn, step: int) -> list[Entry]:
    """A step: a person's words, the reply, the observations of its calls."""
    words = [Entry(step, -1, EntryKind.WORD, text, NOW) for text in draw(st.lists(WORDS, max_size=1))]
    calls = tuple(
        RequestedCall(f"{step}/{number}", "echo", draw(WORDS)) for number in range(1, draw(st.integers(0, 3)) + 1)
    )
    reply = Entry(step, 0, EntryKind.REPLY, draw(WORDS), NOW, tool_calls=calls)
    observed = [
        Entry(step, number, EntryKind.OBSERVATION, draw(WORDS), NOW, tool_call_id=call.id)
        for number, call in enumerate(calls, start=1)
    ]
    return [*words, reply, *observed]


@st.composite
def transcripts(draw: st.DrawFn) -> list[Entry]:
    count = draw(st.integers(0, 8))
    mission = Entry(0, 0, EntryKind.MISSION, draw(WORDS), NOW)
    return [mission, *(entry for step in range(1, count + 1) for entry in draw(steps(step)))]


EXCHANGES = st.lists(st.builds(Exchange, mission=WORDS, answer=WORDS), max_size=4)


@given(prompt=WORDS, earlier=EXCHANGES, entries=transcripts(), limit=st.integers(0, 2_500))
def test_a_conversation_keeps_its_promises_whatever_is_said(
    prompt: str, earlier: list[Exchange], entries: list[Entry], limit: int
) -> None:
    messages = conversation(prompt, earlier, entries, limit)
    everything = conversation(prompt, earlier, entries, 10**9)

    assert messages[0] == ChatMessage("system", prompt)
    assert entries[0].message() in messages
    assert_in_order(messages, everything)
    assert_calls_stay_with_their_observations(messages)
    assert_fits(prompt, entries, messages, limit)


def assert_in_order(messages: tuple[ChatMessage, ...], everything: tuple[ChatMessage, ...]) -> None:
    rest = iter(everything)
    said = [message for message in messages if not message.content.endswith("their results are stored.]")]
    assert all(message in rest for message in said)


def assert_calls_stay_with_their_observations(messages: tuple[ChatMessage, ...]) -> None:
    asked = [call.id for message in messages for call in message.tool_calls]
    observed = [message.tool_call_id for message in messages if message.role == "tool"]
    assert observed == asked


def assert_fits(prompt: str, entries: list[Entry], messages: tuple[ChatMessage, ...], limit: int) -> None:
    last = entries[-1].step
    must = [ChatMessage("system", prompt), *(entry.message() for entry in entries if entry.step in {0, last})]
    note = 100 if last > 1 else 0
    assert size(messages) <= max(limit, size(tuple(must)) + note)


def test_what_is_left_out_is_counted() -> None:
    entries = [Entry(step, 0, EntryKind.REPLY, "x" * 100, NOW) for step in range(1, 11)]
    messages = conversation("prompt", [], entries, limit=500)
    assert messages[1].content == "[7 earlier steps are left out here; their results are stored.]"
    assert len(messages) == 2 + 3


def test_a_long_session_leaves_half_of_the_room_to_the_run() -> None:
    earlier = [Exchange(f"mission {number}", "x" * 100_000) for number in range(10)]
    step = Entry(1, 0, EntryKind.REPLY, "y" * 100_000, NOW)
    messages = conversation("prompt", earlier, [Entry(0, 0, EntryKind.MISSION, "mission", NOW), step])
    assert [message.content[:9] for message in messages] == ["prompt", "mission 9", "x" * 9, "mission", "y" * 9]


def test_earlier_exchanges_come_before_the_mission() -> None:
    messages = conversation("prompt", [Exchange("one", "1")], [Entry(0, 0, EntryKind.MISSION, "two", NOW)])
    assert [(message.role, message.content) for message in messages] == [
        ("system", "prompt"),
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
    ]


def test_the_callers_facts_stand_below_the_mission() -> None:
    assert mission_text("Do it.", {}) == "Do it."
    assert mission_text("Do it.", {"größe": 3}) == 'Do it.\n\nContext:\n{\n  "größe": 3\n}'


@given(st.text(max_size=300), st.integers(1, 200))
def test_a_result_is_shown_whole_or_by_its_two_ends(text: str, times: int) -> None:
    result = text * times
    seen = shown(result, 2, 3)
    if len(result) <= SHOWN_LIMIT:
        assert (seen.text, seen.whole) == (result.replace("\x00", "\N{REPLACEMENT CHARACTER}"), None)
        return
    assert seen.whole is not None
    assert len(seen.whole) == len(result)
    assert len(seen.text) < SHOWN_LIMIT + 300
    assert seen.text.startswith(seen.whole[: SHOWN_LIMIT - SHOWN_TAIL])
    assert seen.text.endswith(seen.whole[-SHOWN_TAIL:])
    assert f"read_result(step=2, call=3, offset={SHOWN_LIMIT - SHOWN_TAIL})" in seen.text


def test_other_results_are_shown_as_json_and_a_plan_as_a_list() -> None:
    assert shown({"größe": [1, None]}, 1, 1).text == '{"größe": [1, null]}'
    assert shown({"at": NOW}, 1, 1).text == '{"at": "2026-01-15 12:00:00+00:00"}'
    assert shown(TodoList(), 1, 1).text == "The list is empty."
    assert shown(TodoList((TodoItem("count", TodoStatus.DONE),)), 1, 1).text == "- [x] count"
