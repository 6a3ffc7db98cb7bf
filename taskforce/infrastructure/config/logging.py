"""Logging of a deployment's process, by its profile and its environment."""

import os

from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.config.access import deployment_profile
from taskforce.infrastructure.config.sections import CONTEXT, LoggingSection
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.llm.model_selection import known_secrets
from taskforce.infrastructure.logging import configure_logging


def log_as_deployed(settings: Settings, tracer: Tracer = NO_TRACING) -> None:
    """Configures this process's logging by the section `logging` of the deployment's profile (guide 10.1).

    Args:
        settings: The process's settings; their level takes precedence over the profile's.
        tracer: The process's tracer, whose current span lines name.

    Raises:
        Missing: `profile_not_found`.
        Invalid: `profile_invalid`.
    """
    section = deployment_profile(settings).logging
    configure_logging(
        settings.log_level or section.level,
        secrets=known_secrets(os.environ),
        as_json=_as_json(section, development=settings.development),
        left_out=frozenset(CONTEXT).difference(section.include_context),
        tracer=tracer,
    )


def _as_json(section: LoggingSection, *, development: bool) -> bool | None:
    if section.format is not None:
        return section.format == "json"
    return None if development else True
