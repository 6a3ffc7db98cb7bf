from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.events import EventParser, ServerEvent
from cli.exits import Trouble


def parse(*chunks: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


STREAM = "\ufeff: hello\r\n\r\nid: 7\nevent: x\ndata: a\ndata:  b\n\ndata: ü€\r\rid: 8\n\ndata\n\nnonsense\n\n".encode()
EVENTS = [ServerEvent("x", "a\n b", "7"), ServerEvent("message", "ü€", None), ServerEvent("message", "", None)]


def test_a_stream_is_read_as_the_standard_says() -> None:
    assert parse(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_it_does_not_matter_where_the_network_cuts(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert parse(*(STREAM[start:end] for start, end in pairwise(places))) == EVENTS


def test_an_unfinished_event_is_none() -> None:
    assert parse(b"data: a\n") == []


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(Trouble, match="does not look like one"):
        parse(b"data: " + b"x" * 5_000_000)
