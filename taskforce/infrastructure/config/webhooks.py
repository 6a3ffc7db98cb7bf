"""Webhooks that a profile configures for all tenants (guide 9.2)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid5

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.webhooks.endpoint import (
    EVENTS,
    FixedWebhook,
    FixedWebhooks,
    Secrets,
    Webhook,
    WebhookFormat,
    checked_secret,
)
from taskforce.core.interfaces.repositories.webhooks import WebhookUrls
from taskforce.infrastructure.config.profiles import Profile

SECTION = "workflow_config"
_NAMES = UUID("0192f0c1-7a5e-7c44-9d0a-6f1f6a4f2b12")
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def fixed_webhooks(profile: Profile, urls: WebhookUrls, *, development: bool) -> FixedWebhooks:
    """Reads `workflow_config.webhooks`, at the top or under `enterprise`: for each `on_<event>` a `url` and a `secret`.

    Each id is derived from the event, so that it is the same in every process, and a waiting delivery goes to the URL
    that the profile has by then. No webhook is stored.

    Args:
        profile: The deployment's profile.
        urls: Checks URLs.
        development: Whether a secret may be as short as the guide's example.

    Raises:
        Invalid: `profile_invalid`, naming the key and never the secret.
    """
    if any(one.key.split(".")[0] == SECTION for one in profile.missing):
        profile.require(SECTION)
    section = profile.enterprise.get(SECTION)
    named = section.get("webhooks") if isinstance(section, Mapping) else profile.workflow_config.webhooks
    if named is not None and not isinstance(named, Mapping):
        raise _invalid(profile, "webhooks", "it is a mapping of on_<event> to url and secret")
    found = [_fixed(profile, str(key), said, urls, development) for key, said in (named or {}).items()]
    return {one.webhook.webhook_id: one for one in found}


def _fixed(profile: Profile, key: str, section: object, urls: WebhookUrls, development: bool) -> FixedWebhook:
    event = key.removeprefix("on_")
    if not key.startswith("on_") or event not in EVENTS:
        raise _invalid(profile, key, f"there is no such event; they are {', '.join(f'on_{one}' for one in EVENTS)}")
    url, secret, style = _read(profile, key, section)
    try:
        urls.check(url)
        if style is WebhookFormat.STANDARD or not development:
            checked_secret(secret, style)
    except Invalid as invalid:
        raise _invalid(profile, key, invalid.message) from None
    webhook = Webhook(
        webhook_id=str(uuid5(_NAMES, event)),
        url=url,
        format=style,
        events=(event,),
        created_by="profile",
        created_at=_EVER,
        updated_at=_EVER,
    )
    return FixedWebhook(webhook, Secrets(secret))


def _read(profile: Profile, key: str, section: object) -> tuple[str, str, WebhookFormat]:
    fields = section if isinstance(section, Mapping) else {}
    url, secret, style = fields.get("url"), fields.get("secret"), fields.get("format", WebhookFormat.GUIDE)
    if not (isinstance(url, str) and isinstance(secret, str) and secret.isascii() and secret.strip()):
        raise _invalid(profile, key, "it needs a url and a secret in ASCII")
    if style not in list(WebhookFormat):
        raise _invalid(profile, key, f"its format is one of {', '.join(WebhookFormat)}")
    return url, secret, WebhookFormat(style)


def _invalid(profile: Profile, key: str, what: str) -> Invalid:
    return Invalid("profile_invalid", f"{profile.file}: {SECTION}.webhooks.{key}: {what.rstrip('.')}.")
