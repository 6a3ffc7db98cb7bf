"""Access rules and rate limits of a deployment, from its profile and its environment."""

import os
from collections.abc import Mapping
from datetime import timedelta

from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.roles import CUSTOM_PREFIX, profile_roles
from taskforce.core.interfaces.identity import SYSTEM_ROLES
from taskforce.infrastructure.config.profiles import Profile, load_profile
from taskforce.infrastructure.config.settings import Settings


def deployment_profile(settings: Settings) -> Profile:
    """Loads the profile that the deployment runs with.

    Raises:
        Missing: `profile_not_found`.
        Invalid: `profile_invalid`.
    """
    return load_profile(settings.profile, settings.config_dir, os.environ)


def access_rules(settings: Settings, profile: Profile) -> AccessRules:
    """Builds the deployment's access rules.

    Args:
        settings: The process's settings.
        profile: The deployment's profile, whose section `enterprise.rbac` (guide 10.1) has roles and a default role.

    Raises:
        Invalid: `roles_invalid`, with everything that is wrong; `profile_invalid` for a default role that is not known.
    """
    rbac = profile.enterprise.get("rbac")
    section: Mapping[object, object] = rbac if isinstance(rbac, Mapping) else {}
    roles = {**SYSTEM_ROLES, **profile_roles(section.get("custom_roles") or ())}
    wanted = section.get("default_role")
    named = wanted if wanted in roles else f"{CUSTOM_PREFIX}{wanted}"
    if wanted is not None and named not in roles:
        raise Invalid("profile_invalid", f"{profile.file}: enterprise.rbac.default_role names no role that is known.")
    return AccessRules(
        claims_age=timedelta(hours=settings.claims_max_age_hours),
        roles=roles,
        default_role=None if wanted is None else str(named),
        platform_tenant=settings.platform_tenant,
        tenants_at_first_sight=settings.development,
    )


def default_rate(profile: Profile) -> Rate | None:
    """Returns the requests per minute of a tenant and of each key; None is no limit (guide 10.1, `rate_limiting`)."""
    section = profile.rate_limiting
    said = "rate_limiting" in profile.model_fields_set and section.enabled
    return Rate.per_minute(section.default_limit) if said else None
