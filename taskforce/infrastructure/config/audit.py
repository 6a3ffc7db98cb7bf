"""Profile section `enterprise.audit` (guide 10.1): how long the log is kept, and what it keeps of contents."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from taskforce.core.domain.audit.content import ContentRules
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.sections import Section
from taskforce.infrastructure.llm.model_selection import known_secrets

MOST_DAYS = 36_600


def _no_switch(value: object) -> object:
    # Strict: `true` would be converted to one day, and almost the whole log would be erased.
    if isinstance(value, bool):
        raise PydanticCustomError("days", "Input should be a number of days")
    return value


Days = Annotated[int, BeforeValidator(_no_switch), Field(ge=1, le=MOST_DAYS)]


class AuditSection(Section):
    """Configures the deployment's audit log.

    Attributes:
        enabled: Only true: a log that a profile's author could switch off would prove nothing.
        retention_days: Days for which events are kept; None is for ever.
        include_request_body: Whether it holds missions, messages and the arguments of calls, without secrets; else only
            their hashes.
    """

    enabled: bool = True
    retention_days: Days | None = None
    include_request_body: bool = False


def audit_section(profile: Profile) -> AuditSection:
    """Parses the section of the deployment's profile.

    Raises:
        Invalid: `profile_invalid`: a value makes no sense, or the log would be switched off.
    """
    said = profile.enterprise.get("audit")
    try:
        section = AuditSection.model_validate({} if said is None else said)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems = (f"{'.'.join(('enterprise', 'audit', *map(str, one['loc'])))}: {one['msg']}." for one in details)
        raise Invalid("profile_invalid", f"{profile.file}: {' '.join(problems)}") from None
    if not section.enabled:
        raise Invalid("profile_invalid", f"{profile.file}: enterprise.audit.enabled: the log cannot be switched off.")
    return section


def content_rules(profile: Profile, environ: Mapping[str, str]) -> ContentRules:
    """Builds the audit log's content rules.

    Args:
        profile: The deployment's profile.
        environ: The process's environment, whose secrets must never be in the log.

    Raises:
        Invalid: `profile_invalid`.
    """
    return ContentRules(audit_section(profile).include_request_body, known_secrets(environ))
