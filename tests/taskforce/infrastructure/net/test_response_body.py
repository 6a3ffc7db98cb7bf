"""Bodies are bounded, whatever they claim and whatever they unpack to."""

import gzip
from collections.abc import AsyncIterator

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.net.response_body import decoded, read_body


async def in_chunks(body: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", b"hello world"),
        ("identity", b"hello world"),
        ("gzip", gzip.compress(b"hello world")),
        (" X-GZip ", gzip.compress(b"hello world")),
        ("gzip", gzip.compress(b"hello ") + gzip.compress(b"world")),
        ("gzip", gzip.compress(b"hello world") + b"\x00\x00"),
    ],
    ids=["none", "identity", "gzip", "x-gzip", "two members", "padded"],
)
async def test_what_was_asked_for_is_unpacked_however_it_arrives(encoding: str, packed: bytes, size: int) -> None:
    assert await read_body(in_chunks(packed, size), encoding, 100) == (b"hello world", False)


async def test_a_body_that_is_exactly_full_is_not_cut() -> None:
    assert await read_body(in_chunks(b"x" * 10), "", 10) == (b"x" * 10, False)
    assert await read_body(in_chunks(gzip.compress(b"x" * 10)), "gzip", 40) == (b"x" * 10, False)


async def test_a_longer_body_is_cut_and_not_read_on() -> None:
    read = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 1_000

    assert await read_body(endless(), "", 5_500) == (b"x" * 5_500, True)
    assert len(read) == 6


async def test_a_bomb_unpacks_to_no_more_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    body, truncated = await read_body(in_chunks(bomb), "gzip", 100_000)
    assert (len(body), truncated) == (100_000, True)


async def test_what_unpacks_to_nothing_is_bounded_too() -> None:
    with pytest.raises(ToolFailure):
        await read_body(in_chunks(gzip.compress(b"") * 10_000), "gzip", 1_000_000)


@pytest.mark.parametrize(
    ("encoding", "body"), [("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"x" * 50), ("deflate", b"x")]
)
async def test_what_cannot_be_unpacked_is_a_failure(encoding: str, body: bytes) -> None:
    with pytest.raises(ToolFailure):
        await read_body(in_chunks(body), encoding, 1_000)


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Grüße".encode(), None, "Grüße"),
        ("Grüße".encode("latin-1"), "ISO-8859-1", "Grüße"),
        (b"\xff\xfe", "utf-8", "\ufffd\ufffd"),
        (b"abc", "no-such-charset", "abc"),
        (b"abc", "zlib_codec", "abc"),
        (b"abc-x", "punycode", "abc-x"),
        (b"a+AGE-", "utf-7", "a+AGE-"),
        (b"abc", "a\x00b", "abc"),
        (b"a\x00b", "utf-8", "a\ufffdb"),
        (b"\xef\xbb\xbfabc", "utf-8", "abc"),
    ],
)
def test_text_is_decoded_whatever_it_is(body: bytes, charset: str | None, text: str) -> None:
    assert decoded(body, charset) == text
