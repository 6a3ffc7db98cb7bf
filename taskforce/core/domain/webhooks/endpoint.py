"""Webhooks: events, subscriptions, and the secrets that deliveries are signed with."""

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
"""Event that is sent on request to one webhook, whatever its subscriptions."""

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
    """An event of a request for approval, or of a budget; a webhook subscribes to all or some."""

    REQUEST_CREATED = "request_created"
    REQUEST_ACTION = "request_action"
    REQUEST_APPROVED = "request_approved"
    REQUEST_REJECTED = "request_rejected"
    REQUEST_EXPIRED = "request_expired"
    REQUEST_ESCALATED = "request_escalated"
    REQUEST_WITHDRAWN = "request_withdrawn"
    REQUEST_VOIDED = "request_voided"
    BUDGET_SOFT_LIMIT = "budget.soft_limit"
    BUDGET_EXCEEDED = "budget.exceeded"


EVENTS = tuple(event.value for event in WebhookEvent)


class WebhookFormat(StrEnum):
    """The format of deliveries: Standard Webhooks 1.0.0, or section 9.2 of the enterprise guide."""

    STANDARD = "standard"
    GUIDE = "guide"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The signing secrets of a webhook.

    Attributes:
        current: The current secret.
        previous: The secret before the last rotation, which is used for a while; None without one.
        previous_until: Time from which `previous` is no longer used, UTC.
    """

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)
    previous_until: datetime | None = None

    def at(self, now: datetime) -> tuple[str, ...]:
        """Returns the secrets in use at a time, the current one first."""
        if self.previous is None or self.previous_until is None or now >= self.previous_until:
            return (self.current,)
        return (self.current, self.previous)

    def rotated(self, following: str, now: datetime, overlap: timedelta) -> "Secrets":
        """Rotates the secret; the current one stays in use beside the new one for a while.

        Args:
            following: The new secret.
            now: The time.
            overlap: Time for which the old secret stays in use, from 0 to 7 days.

        Raises:
            Invalid: `overlap_invalid`, or `webhook_secret_invalid` when it is the current secret.
        """
        if not timedelta() <= overlap <= LONGEST_OVERLAP:
            raise Invalid("overlap_invalid", f"The old secret is kept for 0 to {LONGEST_OVERLAP.days * 24} hours.")
        if following == self.current:
            raise Invalid("webhook_secret_invalid", "This is the secret that the webhook has already.")
        return Secrets(following, self.current, now + overlap) if overlap else Secrets(following)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook: a URL with its subscriptions. Its secrets are stored and read apart from it.

    Attributes:
        webhook_id: The webhook's id.
        url: URL that deliveries are posted to.
        events: Subscribed events; None means all.
        format: Format of its deliveries; immutable.
        definition_id: The only approval definition whose requests it is subscribed to; None means all; immutable.
        enabled: Whether deliveries are sent.
        disabled_by: Why it is disabled: by a person, or because the receiver answered 410 Gone.
        description: Display text.
        created_by: The user who created it.
        created_at: Time of creation, UTC.
        updated_at: Time of the last change, UTC.
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
        """Tells whether the webhook is enabled and subscribed to an event of a request under a definition."""
        bound = self.definition_id is None or self.definition_id == definition_id
        return self.enabled and bound and (self.events is None or event in self.events)

    def switched(self, enabled: bool | None, now: datetime, by: DisabledBy = "person") -> "Webhook":
        """Enables or disables deliveries; None, or the present state, changes nothing."""
        if enabled is None or enabled is self.enabled:
            return self
        return replace(self, enabled=enabled, disabled_by=None if enabled else by, updated_at=now)

    def require_enabled(self) -> None:
        """Requires that the webhook is enabled.

        Raises:
            Conflict: `webhook_disabled`.
        """
        if not self.enabled:
            raise Conflict("webhook_disabled", "The webhook is disabled; enable it first.")


@dataclass(frozen=True, slots=True)
class FixedWebhook:
    """A webhook of the deployment's profile, for all tenants; it is not stored."""

    webhook: Webhook
    secrets: Secrets


FixedWebhooks = Mapping[str, FixedWebhook]
"""The deployment's webhooks by id; ids are equal in every process."""


def unknown_events(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names that are no event's."""
    return tuple(name for name in names if name not in EVENTS)


def new_secret() -> str:
    """Generates a secret of 256 random bits in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(randomness.token_bytes(_NEW_SECRET_BYTES)).decode()


def checked_secret(secret: str, format_: WebhookFormat) -> str:
    """Requires a well-formed secret that cannot be guessed, and returns it.

    Args:
        secret: For `standard` the text `whsec_` and base64 of 24 to 64 bytes; for `guide` 24 to 128 visible ASCII
            characters, used as the key.
        format_: Format of the deliveries.

    Raises:
        Invalid: `webhook_secret_invalid` when it has another form or fewer than 10 different bytes. The message does
            not hold the secret.
    """
    key = _standard_key(secret) if format_ is WebhookFormat.STANDARD else _text_key(secret)
    if key is None:
        raise Invalid("webhook_secret_invalid", _FORMS[format_])
    if len(set(key)) < _LEAST_DIFFERENT:
        raise Invalid("webhook_secret_invalid", "This secret could be guessed; leave it out, and one is made.")
    return secret


def key_of(secret: str, format_: WebhookFormat) -> bytes:
    """Returns the key bytes of a checked secret."""
    key = _standard_key(secret) if format_ is WebhookFormat.STANDARD else secret.encode()
    assert key is not None
    return key


def _standard_key(secret: str) -> bytes | None:
    if not secret.startswith(SECRET_PREFIX):
        return None
    try:
        # Without `validate`, characters outside the alphabet would be dropped, and two secrets would give one key.
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
