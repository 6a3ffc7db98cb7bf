"""Which events a webhook is told of, and which secrets are good."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.webhooks.endpoint import (
    EVENTS,
    Secrets,
    Webhook,
    WebhookFormat,
    checked_secret,
    key_of,
    new_secret,
)

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
STANDARD, GUIDE = WebhookFormat.STANDARD, WebhookFormat.GUIDE


def whsec(key: bytes) -> str:
    return f"whsec_{base64.b64encode(key).decode()}"


def webhook(**changes: Any) -> Webhook:
    made = Webhook("id", "https://hooks.example.com/", STANDARD, "alice", NOW, NOW)
    return replace(made, **changes)


def test_it_is_told_of_everything_or_of_what_it_wants() -> None:
    assert all(webhook().wants(event, None) for event in EVENTS)
    some = webhook(events=("request_created",))
    assert [event for event in EVENTS if some.wants(event, None)] == ["request_created"]
    assert not any(webhook(enabled=False).wants(event, None) for event in EVENTS)


def test_bound_to_a_definition_it_is_told_of_its_requests_alone() -> None:
    bound = webhook(definition_id="data-export")
    assert bound.wants("request_created", "data-export")
    assert not bound.wants("request_created", "other")
    assert not bound.wants("request_created", None)
    assert webhook().wants("request_created", "data-export")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"events": ()}, "events_unknown"),
        ({"events": ("request_created", "test")}, "events_unknown"),
        ({"definition_id": ""}, "definition_id_invalid"),
        ({"definition_id": "a b"}, "definition_id_invalid"),
        ({"definition_id": "a\n"}, "definition_id_invalid"),
        ({"description": "x" * 501}, "description_invalid"),
    ],
)
def test_what_a_webhook_cannot_be(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        webhook(**changes)
    assert refused.value.code == code


def test_switched_off_it_says_who_did_it_and_switched_on_it_forgets() -> None:
    gone = webhook().switched(enabled=False, now=NOW + DAY, by="gone")
    assert (gone.enabled, gone.disabled_by, gone.updated_at) == (False, "gone", NOW + DAY)
    assert gone.switched(enabled=False, now=NOW + 2 * DAY) is gone
    assert gone.switched(enabled=None, now=NOW + 2 * DAY) is gone
    back = gone.switched(enabled=True, now=NOW + 2 * DAY)
    assert (back.enabled, back.disabled_by) == (True, None)
    with pytest.raises(Conflict, match="enable it first"):
        gone.require_enabled()


def test_a_new_secret_is_good_for_both_formats_and_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert checked_secret(secret, STANDARD) == checked_secret(secret, GUIDE) == secret
        assert len(key_of(secret, STANDARD)) == 32
        assert key_of(secret, GUIDE) == secret.encode()


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_24_to_64_bytes_are_good(size: int) -> None:
    key = bytes(range(size))
    assert key_of(checked_secret(whsec(key), STANDARD), STANDARD) == key


@pytest.mark.parametrize(
    "secret",
    [
        whsec(bytes(range(23))),
        whsec(bytes(range(65))),
        base64.b64encode(bytes(range(32))).decode(),
        f"whsec_{base64.urlsafe_b64encode(b'>>>???' * 6).decode()}",
        "whsec_" + "Zm9v" * 10 + "=",
        "whsec_",
        "whsec_\u00fc" + "a" * 40,
        whsec(b"\x00" * 32),
        whsec(b"abc" * 10),
    ],
)
def test_other_standard_secrets_are_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_secret(secret, STANDARD)
    assert refused.value.code == "webhook_secret_invalid"
    assert secret not in refused.value.message or secret == "whsec_"


@pytest.mark.parametrize("secret", ["webhook-secret-key", "x" * 24, "a" * 129, "abcdefghijklm nopqrstuvwxyz", "ä" * 30])
def test_other_secrets_of_the_guides_format_are_refused(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_secret(secret, GUIDE)
    assert refused.value.code == "webhook_secret_invalid"


def test_a_secret_never_shows_itself() -> None:
    assert "hidden" not in repr(Secrets("hidden-1", "hidden-2", NOW))


def test_after_a_rotation_both_count_until_the_overlap_ends() -> None:
    rotated = Secrets("old").rotated("new", NOW, DAY)
    assert rotated.at(NOW) == rotated.at(NOW + DAY - timedelta(seconds=1)) == ("new", "old")
    assert rotated.at(NOW + DAY) == ("new",)
    again = rotated.rotated("newer", NOW, DAY)
    assert again.at(NOW) == ("newer", "new")


def test_a_secret_that_has_leaked_counts_no_more_at_once() -> None:
    assert Secrets("old").rotated("new", NOW, timedelta()) == Secrets("new")


@pytest.mark.parametrize("overlap", [-DAY, 8 * DAY])
def test_an_overlap_has_bounds(overlap: timedelta) -> None:
    with pytest.raises(Invalid) as refused:
        Secrets("old").rotated("new", NOW, overlap)
    assert refused.value.code == "overlap_invalid"


def test_a_rotation_to_the_same_secret_is_none() -> None:
    with pytest.raises(Invalid) as refused:
        Secrets("old").rotated("old", NOW, DAY)
    assert refused.value.code == "webhook_secret_invalid"
