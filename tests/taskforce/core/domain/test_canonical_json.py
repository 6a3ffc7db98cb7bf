"""Canonical JSON, by the examples of RFC 8785 and by properties."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.canonical_json import canonical_hash, canonical_json, is_exact

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def test_the_example_of_the_standard() -> None:
    given_text = r"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(json.loads(given_text)) == expected


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"), (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"), (1e23, "1e+23"), (1e21, "1e+21"), (10**21, "1e+21"),
        (999999999999999700000.0, "999999999999999700000"), (1.2345678901234568e18, "1234567890123456800"),
        (0.000001, "0.000001"), (1e-7, "1e-7"), (333333333.3333332, "333333333.3333332"),
        (-0.0000033333333333333333, "-0.0000033333333333333333"), (1424953923781206.2, "1424953923781206.2"),
        (True, "true"), (1, "1"), (-12, "-12"), (2**63, "9223372036854775808"),
    ],
)  # fmt: skip
def test_a_number_has_one_spelling(number: float, text: str) -> None:
    assert canonical_json(number) == text


def test_keys_are_sorted_by_their_utf_16_code_units() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical_json(dict.fromkeys(names, 0)))) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


def test_what_is_no_json_has_no_canonical_form() -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": {1, 2}})


@given(JSON)
def test_it_says_the_same_and_says_it_again_in_the_same_way(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text, parse_int=float) == json.loads(json.dumps(value), parse_int=float)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_the_order_of_keys_and_the_spelling_of_whole_numbers_do_not_count(value: dict[str, object]) -> None:
    shuffled = dict(reversed(value.items()))
    assert canonical_hash(shuffled) == canonical_hash(value)
    assert canonical_hash({"a": 1.0, "b": 2}) == canonical_hash({"b": 2.0, "a": 1})


@given(st.integers(10**20, 10**24) | st.integers(0, 400).map(lambda digits: 10**digits + 1))
def test_what_it_says_of_a_number_exactly_it_says_of_no_other(number: int) -> None:
    said = Decimal(canonical_json(number)) if number < 10**308 else None
    assert is_exact(number) == (said == number)
