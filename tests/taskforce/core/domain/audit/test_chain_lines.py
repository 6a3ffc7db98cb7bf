"""What is no line of an export is found, and what would make none is not sealed."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.audit.chain import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_LINE_BYTES,
    Anchor,
    Flaw,
    Sealed,
    canonical,
    export,
    seal,
    verify,
)
from taskforce.core.domain.errors import Invalid
from tests.taskforce.core.domain.audit.exports import ANCHOR, GENESIS, LINES, altered, events_of, flaw

# What is no export


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Flaw.NOT_JSON),
        ("{", Flaw.NOT_JSON),
        ("{} {}", Flaw.NOT_JSON),
        ("\x00\x01\x02", Flaw.NOT_JSON),
        ("[" * 100_000, Flaw.NOT_JSON),
        ('{"event":{"a":' * 50_000, Flaw.NOT_JSON),
        (f'{{"event":{{"n":{"9" * 5_000}}},"hash":"{"0" * 64}","seq":3}}', Flaw.NOT_JSON),
        ("\udcff\udcfe", Flaw.NOT_UTF8),
        ("null", Flaw.MALFORMED),
        ("[]", Flaw.MALFORMED),
        ("{}", Flaw.MALFORMED),
        ('{"event":{},"hash":1,"seq":3}', Flaw.MALFORMED),
        ('{"event":[],"hash":"","seq":3}', Flaw.MALFORMED),
        ('{"event":{},"hash":"","seq":true}', Flaw.MALFORMED),
        ('{"event":{},"hash":"","seq":3.0}', Flaw.MALFORMED),
        ('{"event":{"a":NaN},"hash":"","seq":3}', Flaw.MALFORMED),
        ('{"event":{"a":1e999},"hash":"","seq":3}', Flaw.MALFORMED),
        ('{"event":{"a":"\\ud800"},"hash":"","seq":3}', Flaw.MALFORMED),
        (f'{{"event":{{"a":{"[" * (MAX_DEPTH + 1)}{"]" * (MAX_DEPTH + 1)}}},"hash":"","seq":3}}', Flaw.MALFORMED),
        ('{"to":1}', Flaw.MALFORMED),
        ('{"event":{},"hash":"\\ud800","seq":3}', Flaw.NOT_CANONICAL),
        ('{"event":{},"hash":"","more":1,"seq":3}', Flaw.NOT_CANONICAL),
        ('{"event":{"a":1,"a":2},"hash":"","seq":3}', Flaw.DUPLICATE_KEY),
        ('{"event":{},"event":{},"hash":"","seq":3}', Flaw.DUPLICATE_KEY),
        ('{"event":{},"hash":"","seq":3}', Flaw.WRONG_HASH),
        ('{"event":{},"hash":"","seq":-3}', Flaw.WRONG_SEQ),
        (" " * (MAX_LINE_BYTES + 1), Flaw.TOO_LONG),
        ("Ü" * (MAX_LINE_BYTES // 2 + 1), Flaw.TOO_LONG),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_line_that_is_none_is_found(line: str, expected: Flaw) -> None:
    assert flaw([*LINES[:3], line, *LINES[4:]]) == (4, expected)


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda line: line.replace(",", ", ", 1),
        lambda line: line.replace("Ü", "\\u00dc"),
        lambda line: line.replace("0.5", "5e-1"),
        lambda line: line.replace("0.5", "0.50"),
        lambda line: line.replace("\n", "\r\n"),
        lambda line: "\ufeff" + line,
        lambda line: json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":"), ensure_ascii=False),
    ],
)
def test_the_same_event_in_other_words_is_found(rewritten: Mapping[str, object]) -> None:
    assert callable(rewritten)
    assert flaw([*LINES[:2], rewritten(LINES[2]), *LINES[3:]])[0] == 3


@pytest.mark.parametrize(
    "header",
    [
        LINES[1],
        "{}",
        LINES[0].replace("audit/1", "audit/2"),
        LINES[0].replace('"tenant":"acme"', '"tenant":"umbrella"'),
        LINES[0].replace('"acme:0:', '"umbrella:0:'),
        LINES[0].replace("acme:0:", "acme:00:"),
        LINES[0].replace("}", ',"x":1}'),
    ],
)
def test_a_header_that_is_none_is_found(header: str) -> None:
    assert flaw([header, *LINES[1:]])[0] == 1


def test_an_empty_file_is_found() -> None:
    assert flaw([]) == (1, Flaw.CUT_SHORT)


def test_nothing_is_read_after_the_first_line_that_is_broken() -> None:
    def lines() -> Iterator[str]:
        yield from altered(3, actor_id="mallory")[:4]
        pytest.fail("read on")

    with pytest.raises(Invalid, match=r"Line 4:"):
        verify(lines(), ANCHOR)


# What can be sealed


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        "\ud800",
        b"bytes",
        {1, 2},
        datetime(2026, 3, 1, tzinfo=UTC),
        {1: "one", "1": "one too"},
        {None: 1},
        10**5_000,
        "x" * MAX_EVENT_BYTES,
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else "huge",
)
def test_an_event_that_could_not_be_verified_is_not_sealed(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        seal(GENESIS, [{"details": value}])
    assert caught.value.code == "audit_event_invalid"


def test_nesting_is_limited() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    canonical({"details": value})
    with pytest.raises(Invalid):
        canonical({"details": [value]})


def test_the_longest_event_makes_no_line_that_is_too_long() -> None:
    event = {"a": "x" * (MAX_EVENT_BYTES - len('{"a":""}'))}
    before = Anchor("a" * 64, 10**17, "0" * 64)
    sealed, after = seal(before, [event])
    assert verify(export(before, sealed, after), after).events == 1


def test_a_log_that_was_tampered_with_can_be_exported_and_shows_it() -> None:
    sealed, after = seal(GENESIS, events_of("acme", 3))
    rows = [sealed[0], Sealed(2, '"', {"actor_id": "mallory"}), sealed[2]]
    assert flaw(list(export(GENESIS, rows, after)), after) == (3, Flaw.WRONG_HASH)


# Anchors


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), st.integers(1, 10**18 - 1))
def test_anchors_survive_their_text_form(tenant: str, seq: int) -> None:
    for anchor in (Anchor.genesis(tenant), Anchor(tenant, seq, "0123456789abcdef" * 4)):
        assert Anchor.parse(str(anchor)) == anchor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        f"acme:0:{'0' * 64}",
        f"acme:1:{'0' * 63}",
        f"acme:1:{'A' * 64}",
        f"acme:01:{'0' * 64}",
        f"acme:-1:{'0' * 64}",
        f"acme:\u0661:{'0' * 64}",
        f"acme:{'9' * 30}:{'0' * 64}",
        f"acme:1:{'0' * 64}\n",
        f" acme:1:{'0' * 64}",
        f":1:{'0' * 64}",
        f"a:b:1:{'0' * 64}",
        f"ac/me:1:{'0' * 64}",
        f"{'a' * 65}:1:{'0' * 64}",
    ],
)
def test_a_text_that_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Anchor.parse(text)
    assert caught.value.code == "anchor_invalid"


def test_a_place_of_no_tenant_is_refused() -> None:
    with pytest.raises(Invalid):
        Anchor.genesis("acme:1")
