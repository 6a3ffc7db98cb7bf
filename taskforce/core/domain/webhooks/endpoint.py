"""Webhooks: which events there are, who wants to be told of them, and the secrets that receivers check us by."""

import base64
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from taskforce.core.domain.errors import Conflict, Invalid

TEST_EVENT = "test"
"""Sent when somebody asks for it, to one webhook, whatever that webhook wants."""

MOST_WEBHOOKS = 50
MAX_DESCRIPTION = 500
MAX_DEFINITION_ID = 200
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
LONGEST_OVERLAP = timedelta(days=7)

_NEW_SECRET_BYTES = 32
_LEAST_DIFFERENT = 10
_DEFINITION = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_DEFINITION_ID}}}")
_TEXT_SECRET = re.compile(r"[\x21-\x7e]*")

DisabledBy = Literal["person", "gone"]


class WebhookEvent(StrEnum):
    """What happens to requests for approval; a webhook wants all of it or some."""

    REQUEST_CREATED = "request_created"
    REQUEST_ACTION = "request_action"
    REQUEST_APPROVED = "request_approved"
    REQUEST_REJECTED = "request_rejected"
    REQUEST_EXPIRED = "request_expired"
    REQUEST_ESCALATED = "request_escalated"
    REQUEST_WITHDRAWN = "request_withdrawn"
    REQUEST_VOIDED = "request_voided"


EVENTS = tuple(event.value for event in WebhookEvent)


class WebhookFormat(StrEnum):
    """How a delivery looks: as Standard Webhooks 1.0.0 says, or as section 9.2 of the enterprise guide prints it."""

    STANDARD = "standard"
    GUIDE = "guide"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a webhook's deliveries are signed with.

    Attributes:
        current: The secret.
        previous: The one before, which is good for a while after a rotation.
        previous_until: From when it is no longer used, UTC.
    """

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)
    previous_until: datetime | None = None

    def at(self, now: datetime) -> tuple[str, ...]:
        """The secrets that a delivery is signed with at a time, the current one first."""
        if self.previous is None or self.previous_until is None or now >= self.previous_until:
            return (self.current,)
        return (self.current, self.previous)

    def rotated(self, following: str, now: datetime, overlap: timedelta) -> "Secrets":
        """Puts another secret in the first place; the current one is good beside it for a while.

        Args:
            following: The new secret.
            now: The time.
            overlap: For how long, from none to a week.

        Raises:
            Invalid: `overlap_invalid`, or `webhook_secret_invalid` when it is the secret that is there.
        """
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise Invalid("overlap_invalid", f"The old secret is kept for 0 to {LONGEST_OVERLAP.days * 24} hours.")
        if following == self.current:
            raise Invalid("webhook_secret_invalid", "This is the secret that the webhook has already.")
        return Secrets(following, self.current, now + overlap) if overlap else Secrets(following)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a tenant wants to be told of what. Its secrets are kept and read apart from it.

    Attributes:
        webhook_id: Its id.
        url: Where deliveries go.
        events: What it wants to be told; None is everything.
        format: How deliveries look; chosen once.
        definition_id: The only approval definition whose requests it is told of; None is any; chosen once.
        enabled: Whether deliveries are made.
        disabled_by: Why not: a person did it, or the receiver said that it is gone.
        description: For people.
        created_by: Who made it.
        created_at: When, UTC.
        updated_at: When it was changed last, UTC.
    """

    webhook_id: str
    url: str
    format: WebhookFormat
    created_by: str
    created_at: datetime
    updated_at: datetime
    events: tuple[str, ...] | None = None
    definition_id: str | None = None
    enabled: bool = True
    disabled_by: DisabledBy | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if self.definition_id is not None and not _DEFINITION.fullmatch(self.definition_id):
            raise Invalid("definition_id_invalid", "A definition's id is letters, digits, dots, dashes, underscores.")
        if len(self.description) > MAX_DESCRIPTION:
            raise Invalid("description_invalid", f"A description has at most {MAX_DESCRIPTION} characters.")
        if self.events is not None and (not self.events or unknown_events(self.events)):
            raise Invalid("events_unknown", f"Events are all, or some of: {', '.join(EVENTS)}.")

    def wants(self, event: str, definition_id: str | None) -> bool:
        """Whether it is told of an event of a request under a definition."""
        bound = self.definition_id is None or self.definition_id == definition_id
        return self.enabled and bound and (self.events is None or event in self.events)

    def switched(self, enabled: bool | None, now: datetime, by: DisabledBy = "person") -> "Webhook":
        """Switches deliveries on or off; None leaves it, and so does what it is already."""
        if enabled is None or enabled is self.enabled:
            return self
        return replace(self, enabled=enabled, disabled_by=None if enabled else by, updated_at=now)

    def require_enabled(self) -> None:
        """Refuses to send what would not be sent.

        Raises:
            Conflict: `webhook_disabled`.
        """
        if not self.enabled:
            raise Conflict("webhook_disabled", "The webhook is disabled; enable it first.")


@dataclass(frozen=True, slots=True)
class FixedWebhook:
    """A webhook of the deployment's own, which its profile names for all tenants; nothing of it is stored."""

    webhook: Webhook
    secrets: Secrets


FixedWebhooks = Mapping[str, FixedWebhook]
"""The deployment's webhooks by their ids, which are the same in every process."""


def unknown_events(names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that no event has."""
    return tuple(name for name in names if name not in EVENTS)


def new_secret() -> str:
    """Makes a secret: 256 random bits as Standard Webhooks writes them."""
    return SECRET_PREFIX + base64.b64encode(randomness.token_bytes(_NEW_SECRET_BYTES)).decode()


def checked_secret(secret: str, format_: WebhookFormat) -> str:
    """Accepts a secret that somebody brings along.

    Args:
        secret: For `standard` the text `whsec_` and base64 of 24 to 64 bytes; for `guide` 24 to 128 visible ASCII
            characters, which are the key as they stand.
        format_: How it will be used.

    Raises:
        Invalid: `webhook_secret_invalid`: it has another form, or is so uniform that somebody could guess it. The
            message does not hold it.
    """
    key = _standard_key(secret) if format_ is WebhookFormat.STANDARD else _text_key(secret)
    if key is None:
        raise Invalid("webhook_secret_invalid", _FORMS[format_])
    if len(set(key)) < _LEAST_DIFFERENT:
        raise Invalid("webhook_secret_invalid", "This secret could be guessed; leave it out, and one is made.")
    return secret


def key_of(secret: str, format_: WebhookFormat) -> bytes:
    """The bytes that a checked secret stands for."""
    key = _standard_key(secret) if format_ is WebhookFormat.STANDARD else secret.encode()
    assert key is not None
    return key


def _standard_key(secret: str) -> bytes | None:
    if not secret.startswith(SECRET_PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        return None
    return key if LEAST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES else None


def _text_key(secret: str) -> bytes | None:
    fits = LEAST_SECRET_BYTES <= len(secret) <= 2 * MOST_SECRET_BYTES and _TEXT_SECRET.fullmatch(secret)
    return secret.encode() if fits else None


_FORMS = {
    WebhookFormat.STANDARD: f"A secret is {SECRET_PREFIX} and base64 of {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES}"
    " bytes.",
    WebhookFormat.GUIDE: f"A secret is {LEAST_SECRET_BYTES} to {2 * MOST_SECRET_BYTES} visible ASCII characters.",
}
