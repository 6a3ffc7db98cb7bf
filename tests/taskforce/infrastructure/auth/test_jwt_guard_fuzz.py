"""What no list of attacks has: random changes, random input, and failures of our own."""

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskforce.core.domain.errors import Unauthenticated
from tests.taskforce.infrastructure.auth.forged_tokens import NOW, b64, claims, forge, hs256, rs256
from tests.taskforce.infrastructure.auth.guard_factories import GUARD, NAMED, RSA_GUARD, code


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_bit_of_a_token_can_be_changed(data: st.DataObject) -> None:
    guard, token = data.draw(
        st.sampled_from([(GUARD, forge()), (RSA_GUARD, forge({"alg": "RS256"}, sign=rs256))]), label="token"
    )
    segments = token.split(".")
    which = data.draw(st.integers(0, 2), label="segment")
    place = data.draw(st.integers(0, len(segments[which]) - 1), label="place")
    flipped = chr(ord(segments[which][place]) ^ (1 << data.draw(st.integers(0, 6), label="bit")))
    segments[which] = segments[which][:place] + flipped + segments[which][place + 1 :]

    assert code(".".join(segments), guard) == "token_invalid"


@settings(deadline=None)
@given(
    st.one_of(st.text(), st.text("abcAZ09-_=."), st.lists(st.binary().map(b64)).map(".".join), st.none(), st.binary())
)
def test_nothing_that_anybody_could_send_is_believed_or_breaks_anything(token: object) -> None:
    assert code(token) in {"token_invalid", "token_missing"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "iss", "aud", "sub", "roles"]), JSON, max_size=3))
def test_no_signed_claims_break_anything(odd: dict[str, object]) -> None:
    payload = json.dumps({**claims(), **odd}).encode()
    with contextlib.suppress(Unauthenticated):
        GUARD.verify(forge(payload=payload), NOW)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x5t", "jwk"]), JSON, max_size=3))
def test_no_signed_header_breaks_anything(odd: dict[str, object]) -> None:
    with contextlib.suppress(Unauthenticated):
        NAMED.verify(forge({"alg": "HS256", "kid": "k1", **odd}), NOW)


def test_even_an_error_of_ours_is_a_refusal() -> None:
    class BrokenClock(datetime):
        def timestamp(self) -> float:
            raise OSError("no clock")

    with pytest.raises(Unauthenticated) as refusal:
        GUARD.verify(forge(), BrokenClock(2026, 1, 1, tzinfo=UTC))

    assert refusal.value.code == "token_invalid"


@pytest.mark.parametrize("token", [forge(sign=hs256("x" * 40)), forge(payload=claims(exp=0)), "a.b.c"])
def test_a_refusal_repeats_nothing_of_the_token(token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        GUARD.verify(token, NOW)

    assert not any(part in refusal.value.message for part in token.split(".") if len(part) > 1)
    assert refusal.value.__cause__ is None
