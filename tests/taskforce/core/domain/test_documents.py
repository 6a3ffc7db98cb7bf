"""JSON from outside."""

import json

import pytest

from taskforce.core.domain.documents import MAX_DEPTH, check_document, check_texts
from taskforce.core.domain.errors import Invalid


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
