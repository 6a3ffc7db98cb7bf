"""Receivers that share no code with ours believe what we sign, and nothing that was changed."""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from taskforce.core.domain.webhooks.endpoint import WebhookFormat, key_of, new_secret
from taskforce.core.domain.webhooks.signatures import WebhookMessage, signed, standard_signature
from taskforce.infrastructure.config.settings import REPOSITORY
from tests.fixtures import webhook_receivers
from tests.fixtures.npm_packages import installed
from tests.fixtures.webhook_receivers import Got, Untrue, check_by_npm, check_guide, check_standard

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SUBJECT = {
    "request_id": "req-abc123",
    "tenant_id": "acme-corp",
    "approved_by": ["bob", "carol"],
    "title": "Größe \u2028",
}
WHAT = WebhookMessage("0192f0c1-7a5e-7c44-9d0a-6f1f6a4f2b11", "request_approved", SUBJECT, AT)
STANDARD, GUIDE = WebhookFormat.STANDARD, WebhookFormat.GUIDE
Library = Callable[[Sequence[tuple[Got, str]]], Awaitable[Sequence[str | None]]]
PROGRAM = Path(webhook_receivers.__file__).with_name("standardwebhooks") / "verify.mjs"


def sent(secrets: Sequence[str], format_: WebhookFormat = STANDARD, at: datetime = AT) -> Got:
    request = signed(WHAT, format_, secrets, at)
    return Got("/", request.headers, request.body)


def changed(got: Got, **headers: str) -> Got:
    return replace(got, headers={**got.headers, **{name.replace("_", "-"): said for name, said in headers.items()}})


def test_the_example_of_the_specification_is_signed_as_it_says() -> None:
    # The vector that the reference libraries of Standard Webhooks test themselves with.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", STANDARD)
    body = b'{"test": 2432232314}'
    found = standard_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_standard_delivery_says_what_happened() -> None:
    got = sent([new_secret()])
    assert got.json() == {"type": "request_approved", "timestamp": "2026-01-15T10:30:00.000Z", "data": SUBJECT}
    assert got.event_id == WHAT.event_id
    assert got.headers["webhook-timestamp"] == str(int(AT.timestamp()))
    assert got.headers["content-type"] == "application/json"


def test_a_delivery_of_the_guides_format_looks_as_the_guide_prints_it() -> None:
    secret = new_secret()
    got = sent([secret], GUIDE)
    body = got.json()
    assert list(body) == ["event", "timestamp", "payload", "signature"]
    assert (body["event"], body["timestamp"], body["payload"]) == (WHAT.event, "2026-01-15T10:30:00Z", SUBJECT)
    assert str(body["signature"]).startswith("sha256=")
    check_guide(got, secret)
    with pytest.raises(Untrue):
        check_guide(got, new_secret())


@pytest.mark.parametrize("key", ["event", "timestamp", "payload", "signature"])
def test_a_delivery_of_the_guides_format_that_was_changed_is_not_believed(key: str) -> None:
    secret = new_secret()
    got = sent([secret], GUIDE)
    body = {**got.json(), key: "other"}
    with pytest.raises(Untrue):
        check_guide(replace(got, body=json.dumps(body).encode()), secret)


def test_the_body_is_the_same_at_every_attempt_and_the_rest_is_new() -> None:
    secret = new_secret()
    first, later = sent([secret]), sent([secret], at=AT + timedelta(days=3))
    assert (later.body, later.event_id) == (first.body, first.event_id)
    assert later.headers["webhook-timestamp"] != first.headers["webhook-timestamp"]
    assert later.headers["webhook-signature"] != first.headers["webhook-signature"]
    assert sent([secret], GUIDE).body == sent([secret], GUIDE, AT + timedelta(days=3)).body


def test_while_a_secret_is_rotated_a_receiver_with_either_believes_it() -> None:
    old, new = new_secret(), new_secret()
    for format_ in (STANDARD, GUIDE):
        got = sent([new, old], format_)
        assert len(got.headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        check_standard(sent([new, old]), secret, AT.timestamp())
    guided = sent([new, old], GUIDE)
    check_guide(guided, new)
    # The body has room for one signature; the header has the old one too.
    assert guided.headers["webhook-signature"].split(" ") == [
        sent([new], GUIDE).json()["signature"],
        sent([old], GUIDE).json()["signature"],
    ]


def forged(secret: str, at: datetime) -> dict[str, Got]:
    """Deliveries that must not be believed at a time, by what is wrong with them."""
    good = sent([secret], at=at)
    signature = good.headers["webhook-signature"]
    flipped = signature[:-6] + ("A" if signature[-6] != "A" else "B") + signature[-5:]
    return {
        "id": changed(good, webhook_id=new_secret()),
        "time": changed(good, webhook_timestamp=str(int(at.timestamp()) + 1)),
        "body": replace(good, body=good.body.replace(b"bob", b"eve")),
        "signature": changed(good, webhook_signature=flipped),
        "version": changed(good, webhook_signature=signature.replace("v1,", "v2,")),
        "secret": sent([new_secret()], at=at),
        "age": sent([secret], at=at - timedelta(seconds=301)),
        "future": sent([secret], at=at + timedelta(seconds=301)),
    }


def test_a_receiver_written_from_the_specification_believes_us_and_no_forger() -> None:
    secret = new_secret()
    check_standard(sent([secret]), secret, AT.timestamp())
    check_standard(sent([secret], at=AT - timedelta(seconds=299)), secret, AT.timestamp())
    for got in forged(secret, AT).values():
        with pytest.raises(Untrue):
            check_standard(got, secret, AT.timestamp())


def documented(section: str) -> Callable[..., object]:
    """The receiver that the documentation shows under a heading."""
    text = (REPOSITORY / "docs" / "webhooks.md").read_text()
    [code] = re.findall(rf"## {section}\n.*?```python\n(.*?)```", text, re.DOTALL)[:1]
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[..., object] = names["verify"]
    return verify


def test_the_receivers_of_the_documentation_believe_us_and_no_forger() -> None:
    secret, at = new_secret(), datetime.now(UTC)
    verify = documented("Receiving: the standard format")
    good = sent([new_secret(), secret], at=at)
    verify(secret, good.headers, good.body)
    for got in forged(secret, at).values():
        with pytest.raises(ValueError, match=r"not signed by us|too old"):
            verify(secret, got.headers, got.body)

    verify = documented("Receiving: the guide's format")
    guided = sent([secret], GUIDE)
    assert verify(secret, guided.body) == {key: said for key, said in guided.json().items() if key != "signature"}
    with pytest.raises(ValueError, match="not signed by us"):
        verify(secret, guided.body.replace(b"bob", b"eve"))


async def by_npm(cases: Sequence[tuple[Got, str]]) -> Sequence[str | None]:
    program = str(installed(PROGRAM, "standardwebhooks"))
    return [None if said["taken"] else str(said["why"]) for said in await check_by_npm(program, cases)]


async def by_pypi(cases: Sequence[tuple[Got, str]]) -> Sequence[str | None]:
    return [_why_not(got, secret) for got, secret in cases]


def _why_not(got: Got, secret: str) -> str | None:
    try:
        Webhook(secret).verify(got.body, dict(got.headers))
    except WebhookVerificationError as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("library", [by_npm, by_pypi])
async def test_the_libraries_of_standard_webhooks_believe_us_and_no_forger(library: Library) -> None:
    at = datetime.now(UTC)  # they go by the machine's own clock
    old, new = new_secret(), new_secret()
    rotating, older = sent([new, old], at=at), sent([new], at=at - timedelta(seconds=120))
    good = [(sent([new], at=at), new), (rotating, new), (rotating, old), (older, new)]
    assert await library(good) == [None] * len(good)
    # A second later the one of the future would be none.
    bad = forged(new, at) | {"future": sent([new], at=at + timedelta(seconds=600))}
    why = dict(zip(bad, await library([(got, new) for got in bad.values()]), strict=True))
    assert why == {
        **dict.fromkeys(bad, "No matching signature found"),
        "age": "Message timestamp too old",
        "future": "Message timestamp too new",
    }
