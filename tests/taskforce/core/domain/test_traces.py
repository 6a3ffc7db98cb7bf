"""W3C trace context: what is believed of what others send."""

import json

import pytest

from taskforce.core.domain.traces import derived_traceparent, header_of, is_traceparent, traceparent_in

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_header_holds_a_traceparent_and_nothing_else() -> None:
    assert json.loads(header_of(GOOD)) == {"traceparent": GOOD}
    assert traceparent_in(header_of(GOOD)) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        f"{GOOD}-more",
        GOOD.replace("00-0", "ff-0"),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"{GOOD}\n",
    ],
)
def test_what_is_no_traceparent_is_none(text: str) -> None:
    assert not is_traceparent(text)
    assert traceparent_in(json.dumps({"traceparent": text}).encode()) is None


@pytest.mark.parametrize("header", [b"", b"nonsense", b"[]", b"{}", b'{"traceparent": 3}', b"\xff"])
def test_a_header_that_cannot_be_read_is_none(header: bytes) -> None:
    assert traceparent_in(header) is None


def test_a_derived_traceparent_is_the_same_for_one_name() -> None:
    one, other = derived_traceparent("acme:run:1"), derived_traceparent("acme:run:2")
    assert one == derived_traceparent("acme:run:1")
    assert one != other
    assert is_traceparent(one)
