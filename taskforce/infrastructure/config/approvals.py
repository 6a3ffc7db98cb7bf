"""Approval rules of a deployment: the definitions of its profile, whether signals count, what Temporal shows."""

from collections.abc import Iterable
from dataclasses import replace

from taskforce.core.domain.approvals.definition_documents import SchemaCheck, parse
from taskforce.core.domain.approvals.definitions import MOST_DEFINITIONS, Definition, DefinitionRules, Source
from taskforce.core.domain.approvals.excerpt import ExcerptRules
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.settings import Settings

_SECTION = "workflow_config.workflows"
_WHOLE = ("workflow_config", _SECTION)


def definition_rules(profile: Profile, check_schema: SchemaCheck) -> DefinitionRules:
    """Builds the approval definitions of the deployment's profile (`workflow_config.workflows`).

    Args:
        profile: The profile that the deployment runs with.
        check_schema: Checks the schemas of payloads.

    Raises:
        Invalid: `profile_invalid`; `details["problems"]` lists everything that is wrong, with file and key.
    """
    problems: list[str] = [
        f"{profile.file}: {one.key} needs the environment variable {one.variable}, which is not set."
        for one in profile.missing
        if one.key in _WHOLE or one.key.startswith(f"{_SECTION}.")
    ]
    found: dict[str, Definition] = {}
    documents = profile.workflow_config.workflows
    if len(documents) > MOST_DEFINITIONS:
        problems.append(f"{profile.file}: {_SECTION} has more than {MOST_DEFINITIONS} definitions.")
    signals = profile.approvals.signal_channel
    for at, document in enumerate(documents[:MOST_DEFINITIONS]):
        where = f"{profile.file}: {_SECTION}.{at}"
        try:
            one = replace(parse(document, check_schema, signals=signals), source=Source.PROFILE)
        except Invalid as error:
            problems += [f"{where}.{problem}" for problem in _told(error)]
            continue
        if one.definition_id in found:
            problems.append(f"{where}.workflow_id is that of another definition.")
        found[one.definition_id] = one
    if problems:
        raise Invalid("profile_invalid", " ".join(problems), details={"problems": problems})
    return DefinitionRules(tuple(found.values()), signals)


def excerpt_rules(settings: Settings, profile: Profile, secrets: Iterable[str]) -> ExcerptRules:
    """Builds what the Temporal UI shows of requests (`approvals.temporal_arguments`).

    Args:
        settings: Where the gateway is, for links.
        profile: The profile that the deployment runs with.
        secrets: Values that are redacted in any case.
    """
    url = (settings.public_url or "").rstrip("/")
    return ExcerptRules(profile.approvals.temporal_arguments, url, tuple(secrets))


def _told(error: Invalid) -> list[str]:
    listed = error.details.get("problems")
    parts = listed if isinstance(listed, list) else []
    return [f"{one['path']}: {one['problem']}" for one in parts] or [error.message]
