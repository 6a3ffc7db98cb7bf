import json
from collections.abc import Mapping

import pytest

from taskforce.infrastructure.llm.call_deltas import CallDeltas

ONE, TWO = '{"expression": "1+1"}', '{"expression": "2+2"}'
CALC = "calculator"
Delta = Mapping[str, object]


def piece(index: object = None, id: object = None, name: object = None, arguments: object = None) -> Delta:  # noqa: A002
    function = {"name": name, "arguments": arguments}
    return {
        **({} if index is None else {"index": index}),
        **({} if id is None else {"id": id}),
        "function": {key: value for key, value in function.items() if value is not None},
    }


def together(*pieces: Delta, most_calls: int = 10, most_characters: int = 1_000) -> CallDeltas:
    calls = CallDeltas((CALC, "clock", "write_file"), most_calls, most_characters)
    for one in pieces:
        calls.add(one)
    return calls


TWO_CALLS = {
    "by the rules": (
        piece(0, "a", CALC, ""),
        piece(0, None, None, ONE[:9]),
        piece(0, None, None, ONE[9:]),
        piece(1, "b", CALC, ""),
        piece(1, None, None, TWO),
    ),
    "interleaved": (
        piece(0, "a", CALC, ONE[:9]),
        piece(1, "b", CALC, TWO[:9]),
        piece(0, None, None, ONE[9:]),
        piece(1, None, None, TWO[9:]),
    ),
    "the index is always 0": (piece(0, "a", CALC, ONE), piece(0, "b", CALC, TWO)),
    "the index is always 0, in pieces": (
        piece(0, "a", CALC, ONE[:9]),
        piece(0, None, None, ONE[9:]),
        piece(0, "b", CALC, TWO[:9]),
        piece(0, None, None, TWO[9:]),
    ),
    "index 0 and empty ids": (piece(0, "", CALC, ONE), piece(0, "", CALC, TWO)),
    "index 0 and no ids, in pieces": (
        piece(0, None, CALC, ONE[:9]),
        piece(0, None, None, ONE[9:]),
        piece(0, None, CALC, TWO[:9]),
        piece(0, None, None, TWO[9:]),
    ),
    "index 0, a header before each, no ids": (
        piece(0, None, CALC, ""),
        piece(0, None, None, ONE),
        piece(0, None, CALC, ""),
        piece(0, None, None, TWO),
    ),
    "the second has an empty name": (piece(0, "a", CALC, ""), piece(0, None, "", ONE), piece(0, None, "", TWO)),
    "no index": (piece(None, "a", CALC, ONE), piece(None, "b", CALC, TWO)),
    "no index, in pieces": (
        piece(None, "a", CALC, ONE[:9]),
        piece(None, None, None, ONE[9:]),
        piece(None, "b", CALC, TWO[:9]),
        piece(None, None, None, TWO[9:]),
    ),
    "neither index nor id": (piece(None, None, CALC, ONE), piece(None, None, CALC, TWO)),
    "one id for both": (piece(0, "same", CALC, ONE), piece(1, "same", CALC, TWO)),
    "one id and one index for both": (piece(0, "same", CALC, ONE), piece(0, "same", CALC, TWO)),
    "a new id in each piece": (
        piece(0, "a1", CALC, ""),
        piece(0, "a2", None, ONE),
        piece(1, "b1", CALC, ""),
        piece(1, "b2", None, TWO),
    ),
    "id and name in each piece": (
        piece(0, "a", CALC, ONE[:9]),
        piece(0, "a", CALC, ONE[9:]),
        piece(1, "b", CALC, TWO[:9]),
        piece(1, "b", CALC, TWO[9:]),
    ),
    "interleaved by id, index 0": (
        piece(0, "a", CALC, ONE[:9]),
        piece(0, "b", CALC, TWO[:9]),
        piece(0, "a", None, ONE[9:]),
        piece(0, "b", None, TWO[9:]),
    ),
    "the index is text": (piece("0", "a", CALC, ONE), piece("1", "b", CALC, TWO)),
    "the index begins at 1": (piece(1, "a", CALC, ONE), piece(2, "b", CALC, TWO)),
    "the index grows with each piece": (
        piece(0, "a", CALC, ONE[:9]),
        piece(1, None, None, ONE[9:]),
        piece(2, "b", CALC, TWO[:9]),
        piece(3, None, None, TWO[9:]),
    ),
    "arguments are objects": (piece(0, "a", CALC, json.loads(ONE)), piece(1, "b", CALC, json.loads(TWO))),
}


@pytest.mark.parametrize("pieces", TWO_CALLS.values(), ids=TWO_CALLS.keys())
def test_two_calls_are_two(pieces: tuple[Delta, ...]) -> None:
    calls = together(*pieces).requested()
    assert [(call.name, call.arguments) for call in calls] == [(CALC, ONE), (CALC, TWO)]
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)


ONE_CALL = {
    "in single characters": (piece(0, "a", CALC, ""), *(piece(0, None, None, letter) for letter in ONE)),
    "repeated whole with its header": (
        piece(0, "a", CALC, ONE[:9]),
        piece(0, None, None, ONE[9:]),
        piece(0, "a", CALC, ONE),
    ),
    "repeated whole": (piece(0, "a", CALC, ONE[:9]), piece(0, None, None, ONE[9:]), piece(0, None, None, ONE)),
    "repeated whole, without an index": (piece(None, "a", CALC, ONE), piece(None, "a", CALC, ONE)),
    "a header repeated at the end": (piece(0, "a", CALC, ONE), piece(0, "a", CALC, "")),
    "what there is so far each time": tuple(piece(0, "a", CALC, ONE[:end]) for end in (5, 10, len(ONE))),
    "an empty object first": (piece(0, "a", CALC, "{}"), piece(0, None, None, ONE)),
    "null first": (piece(0, "a", CALC, "null"), piece(0, None, None, ONE)),
    "the name in parts": (piece(0, "a", "calc", ""), piece(0, None, "ulator", ""), piece(0, None, None, ONE)),
    "the name so far each time": (piece(0, "a", "calc", ""), piece(0, "a", CALC, ""), piece(0, None, None, ONE)),
    "the id later": (piece(0, None, CALC, ""), piece(0, "a", None, ONE)),
    "an empty piece at the end": (piece(0, "a", CALC, ONE), piece(1, "", "", "")),
    "without `function`": ({"index": 0, "id": "a", "name": CALC, "arguments": ONE},),
}


@pytest.mark.parametrize("pieces", ONE_CALL.values(), ids=ONE_CALL.keys())
def test_one_call_is_one(pieces: tuple[Delta, ...]) -> None:
    (call,) = together(*pieces).requested()
    assert (call.id, call.name, call.arguments) == ("a", CALC, ONE)


def test_the_same_call_twice_is_two_where_ids_say_so_or_there_are_none() -> None:
    assert len(together(piece(0, "a", CALC, ONE), piece(0, "b", CALC, ONE)).requested()) == 2
    assert len(together(piece(0, None, CALC, ONE), piece(0, None, CALC, ONE)).requested()) == 2


def test_calls_of_other_tools_follow_even_where_the_arguments_before_are_broken() -> None:
    calls = together(piece(0, None, CALC, '{"expression": '), piece(0, None, "clock", "{}")).requested()
    assert [(call.name, call.arguments) for call in calls] == [(CALC, '{"expression": '), ("clock", "{}")]


def test_an_object_within_the_arguments_is_no_other_call() -> None:
    nested = '{"a":{"b":1}}'
    pieces = [piece(0, None, None, part) for part in ('{"a":', '{"b"', ":1", "}", "}")]
    (call,) = together(piece(0, "a", CALC, ""), *pieces).requested()
    assert call.arguments == nested


def test_a_decorated_name_leads_to_the_tool() -> None:
    (call,) = together(piece(0, "a", "functions.calculator", ONE)).requested()
    assert call.name == CALC


def test_calls_beyond_the_limit_are_left_out() -> None:
    calls = together(*(piece(number, f"c{number}", CALC, ONE) for number in range(30)), most_calls=3)
    assert calls.left_out
    assert [call.id for call in calls.requested()] == ["c0", "c1", "c2"]


def test_arguments_beyond_the_limit_end_the_call() -> None:
    calls = together(piece(0, "a", "write_file", '{"text": "'), *(piece(0, None, None, "x" * 100) for _ in range(20)))
    assert calls.too_long
    assert not calls.last_is_whole
    assert len(calls.requested()[0].arguments) <= 1_000


def test_looking_whether_arguments_are_whole_costs_no_more_than_reading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile stream makes each piece look like the beginning of another call."""
    sizes: list[int] = []

    def counted(text: str) -> None:
        sizes.append(len(text))

    monkeypatch.setattr("taskforce.infrastructure.llm.call_deltas.parsed_object", counted)
    calls = CallDeltas((CALC,), 10, 500_000)
    calls.add(piece(0, "a", CALC, '{"text": "'))
    for _ in range(200_000):
        calls.add(piece(0, None, None, "{}"))
    assert sum(sizes) < 3_000_000
