"""What a profile says of its audit log."""

from pathlib import Path

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.audit import AuditSection, audit_section, content_rules
from taskforce.infrastructure.config.profiles import Profile, load_profile
from taskforce.infrastructure.config.settings import REPOSITORY


def written(directory: Path, text: str, **environ: str) -> Profile:
    (directory / "mine.yaml").write_text(f"profile: mine\n{text}\n")
    return load_profile("mine", directory, environ)


def test_the_guides_profile_keeps_a_year_and_no_contents() -> None:
    section = audit_section(load_profile("enterprise", REPOSITORY / "configs", {}))
    assert (section.enabled, section.retention_days, section.include_request_body) == (True, 365, False)


@pytest.mark.parametrize("text", ["agent: {id: mine}", "enterprise: {audit: }", "enterprise: {audit: {enabled: }}"])
def test_who_says_nothing_keeps_events_for_ever_and_no_contents(tmp_path: Path, text: str) -> None:
    assert audit_section(written(tmp_path, text)) == AuditSection()
    assert AuditSection().retention_days is None


@pytest.mark.parametrize(("said", "included"), [("true", True), ("false", False), ("'${BODIES}'", True)])
def test_contents_are_kept_where_the_profile_says_so_without_what_is_known_to_be_secret(
    tmp_path: Path, said: str, included: bool
) -> None:
    profile = written(tmp_path, f"enterprise: {{audit: {{include_request_body: {said}}}}}", BODIES="true")
    rules = content_rules(profile, {"OPENAI_API_KEY": "hunter2-hunter2"})
    assert (rules.included, rules.secrets) == (included, ("hunter2-hunter2",))
    assert "hunter2" not in repr(rules)


@pytest.mark.parametrize(
    ("audit", "named"),
    [
        ("{retention_days: 0}", "audit.retention_days"),
        ("{retention_days: soon}", "audit.retention_days"),
        ("{retention_days: true}", "audit.retention_days"),
        ("{include_request_body: redacted}", "audit.include_request_body"),
        ("{enabled: perhaps}", "audit.enabled"),
        ("{enabled: false}", "audit.enabled: the log cannot be switched off"),
        ("[1]", "enterprise.audit"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, audit: str, named: str) -> None:
    with pytest.raises(Invalid, match=named) as refused:
        audit_section(written(tmp_path, f"enterprise: {{audit: {audit}}}"))
    assert refused.value.code == "profile_invalid"
    assert refused.value.message.startswith("mine.yaml: ")


def test_a_refused_value_is_not_shown(tmp_path: Path) -> None:
    profile = written(tmp_path, "enterprise: {audit: {enabled: '${KEY}'}}", KEY="hunter2-hunter2")
    with pytest.raises(Invalid) as refused:
        audit_section(profile)
    assert "hunter2" not in f"{refused.value.message} {refused.value.details} {refused.value.__context__!r}"
