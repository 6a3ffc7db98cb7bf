import pytest

from taskforce.infrastructure.llm.sse import EventStream, EventTooLongError, ServerEvent


def data_of(*pieces: bytes, longest: int = 1_000) -> list[bytes]:
    stream = EventStream(longest)
    events = [event for piece in pieces for event in stream.feed(piece)]
    return [event.data for event in (*events, *stream.end())]


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": a comment\n\ndata: a\n\n", [b"a"]),
        (b"retry: 3000\n\ndata: a\n\n", [b"a"]),
        (b"id: 7\n\nevent: ping\n\ndata: a\n\n", [b"a"]),
        (b"id: 7\nretry: 5\ndata: a\nid: 8\n\n", [b"a"]),
        (b"data\n\n", [b""]),
        (b"data: last without a blank line", [b"last without a blank line"]),
        (b"database: no field of ours\n\ndata: a\n\n", [b"a"]),
        (b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n', [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]),
        (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
        (b'data: {"a": 1}\n\n{"error": "bare"}\n', [b'{"a": 1}', b'{"error": "bare"}']),
    ],
)
def test_a_body_is_split_into_events(body: bytes, data: list[bytes]) -> None:
    assert data_of(body) == data
    assert data_of(*(body[place : place + 1] for place in range(len(body)))) == data


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_cr_and_lf_end_a_line(separator: str) -> None:
    said = f'{{"content": "a{separator}b"}}'.encode()
    assert data_of(b"data: " + said + b"\n\n") == [said]


def test_an_event_tells_its_type() -> None:
    stream = EventStream(100)
    assert list(stream.feed(b"event: error\ndata: {}\n\ndata: {}\n\n")) == [
        ServerEvent("error", b"{}"),
        ServerEvent("", b"{}"),
    ]


@pytest.mark.parametrize("body", [b"data: " + b"a" * 200, b"data: aaaaaaaaaaaaaaaaaaaa\n" * 10], ids=["line", "lines"])
def test_an_event_without_end_is_not_kept(body: bytes) -> None:
    with pytest.raises(EventTooLongError):
        data_of(body, longest=100)
