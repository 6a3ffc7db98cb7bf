"""What every process of the product opens in the same way, from its settings and its profile."""

import os

from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.audit import content_rules
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.config.webhooks import fixed_webhooks
from taskforce.infrastructure.keys.derivation import derived_key
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database

_UPDATES = "taskforce/update-proof/1"


def proof_key(settings: Settings) -> ProofKey:
    """The key by which the gateway vouches for decisions, and the worker believes it.

    Raises:
        Invalid: `bad_setting`: TASKFORCE_ENCRYPTION_KEY is not set; development does without until somebody decides.
    """
    if settings.master_key is not None:
        return ProofKey(derived_key(settings.master_key, _UPDATES))
    if settings.development:
        return ProofKey()
    text = "TASKFORCE_ENCRYPTION_KEY is not set; gateways vouch by it for what people decide, and workers check that."
    raise Invalid("bad_setting", text)


def webhook_urls(settings: Settings) -> DeploymentUrls:
    """Which URLs webhooks may have here."""
    return DeploymentUrls(frozenset(settings.http_allowed_hosts), development=settings.development)


def open_database(settings: Settings, profile: Profile) -> Database:
    """The door to PostgreSQL, with the key of sealed columns, the profile's webhooks, and what its log keeps.

    Args:
        settings: What the environment says.
        profile: The deployment's profile.

    Raises:
        Invalid: DATABASE_URL is not set, or `profile_invalid`.
    """
    return Database(
        settings.app_url,
        settings.db_pool_size,
        contents=content_rules(profile, os.environ),
        sealer=ColumnSealer(settings.master_key),
        fixed_webhooks=fixed_webhooks(profile, webhook_urls(settings), development=settings.development),
    )
