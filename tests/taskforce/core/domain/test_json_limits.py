"""JSON from outside."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.json_limits import MAX_DEPTH, check_document, check_texts, moment, parts_in, values_in


@pytest.mark.parametrize(
    "value",
    [None, 1, 10**21 - 1, 10**23, 1e308, "x", [], {}, {"a": [1.5, {"b": "\x00"}]}, json.loads("[" * 60 + "]" * 60)],
)
def test_plain_json_passes(value: object) -> None:
    check_document(value, "context")


DEEP_LIST = "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)
DEEP_OBJECT = '{"a":' * 70 + "1" + "}" * 70


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": -1e999}', "1" + "0" * 400, f"[-{10**22 + 1}]", DEEP_LIST, DEEP_OBJECT],
)
def test_what_cannot_be_stored_or_hashed_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_document(json.loads(text), "context")
    assert refused.value.code == "context_malformed"


def test_it_does_not_recurse_itself() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Invalid):
        check_document(deep, "context")
    while deep:
        deep = deep[0]  # type: ignore[assignment]  # taken apart here, for its own end would recurse


@pytest.mark.parametrize("value", ["\x00", ["\ud800"], {"a": [{"\udfff": 1}]}])
def test_texts_that_would_be_kept_as_others_are_refused_where_that_counts(value: object) -> None:
    check_texts({"a": ["ü", "\U0001f600", 1, None]}, "arguments")
    with pytest.raises(Invalid) as refused:
        check_texts(value, "arguments")
    assert refused.value.code == "arguments_malformed"


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T18:00:00Z", "2026-01-31t19:00:00+01:00", "2026-01-31 18:00:00.000z", "2026-01-31T12:30:00-05:30"],
)
def test_a_time_is_read_in_utc(text: str) -> None:
    assert moment(text) == datetime(2026, 1, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, "", "tomorrow", "2026-01-31", "2026-01-31T18:00:00", "2026-02-31T18:00:00Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-W05-6T18:00:00Z", "2026-01-31T18:00:00Z\n"),
    ],
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert moment(value) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a,[]{}:"\\\u00e9')),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(st.sampled_from('a,[{"\\')), parts),
)


@given(JSON, st.integers(0, 20))
def test_values_are_counted_before_they_are_parsed(value: object, most: int) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    assert values_in(text, 10**9) >= parts_in(value, 10**9)
    assert (values_in(text, most) > most) >= (parts_in(value, most) > most)


@given(st.lists(st.text(st.sampled_from('a,[]{}:"\\')), min_size=1), st.integers(0, 20))
def test_marks_within_texts_are_no_values(texts: list[str], most: int) -> None:
    text = json.dumps({f"{{[,{place}": one for place, one in enumerate(texts)}).encode()
    assert (values_in(text, most) > most) == (len(texts) + 1 > most)


@pytest.mark.parametrize(
    "text", [b"", b'"', b'"\\', b'"' + b'\\"' * 1_000, b",,", b"]]", b'"",' * 1_000, b'""' * 1_000]
)
def test_what_is_no_json_is_counted_too(text: bytes) -> None:
    assert values_in(text, 0) > 0
    values_in(text, 10)
