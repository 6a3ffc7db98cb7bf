"""What a deployment's profile and environment say about rights, rates and the audit log."""

from pathlib import Path

import pytest

from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.errors import Invalid
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission
from taskforce.infrastructure.config.access import access_rules, default_rate
from taskforce.infrastructure.config.audit import audit_section
from taskforce.infrastructure.config.profiles import Profile, load_profile
from taskforce.infrastructure.config.settings import REPOSITORY, Settings


def written(directory: Path, text: str) -> Profile:
    (directory / "mine.yaml").write_text(f"profile: mine\n{text}\n")
    return load_profile("mine", directory, {})


@pytest.fixture
def settings() -> Settings:
    return Settings.from_env()


def test_the_guides_profile_gives_its_role_its_default_its_rate_and_its_days(settings: Settings) -> None:
    profile = load_profile("enterprise", REPOSITORY / "configs", {})
    rules = access_rules(settings, profile)
    analyst = rules.roles["custom:data_analyst"]
    assert analyst.permissions == {
        Permission.AGENT_READ,
        Permission.AGENT_EXECUTE,
        Permission.SESSION_CREATE,
        Permission.MEMORY_READ,
    }
    assert set(rules.roles) == {*SYSTEM_ROLES, "custom:data_analyst"}
    assert rules.default_role == "viewer"
    assert default_rate(profile) == Rate(100, 60.0, 100)
    assert audit_section(profile).retention_days == 365


def test_a_profile_that_says_nothing_limits_nothing(tmp_path: Path, settings: Settings) -> None:
    profile = written(tmp_path, "agent: {id: mine}")
    rules = access_rules(settings, profile)
    assert (set(rules.roles), rules.default_role, rules.platform_tenant) == (set(SYSTEM_ROLES), None, "platform")
    assert (default_rate(profile), audit_section(profile).retention_days) == (None, None)


def test_a_default_role_may_be_one_of_the_profiles_own(tmp_path: Path, settings: Settings) -> None:
    roles = "custom_roles: [{name: reader, permissions: ['agent:read']}]"
    profile = written(tmp_path, f"enterprise: {{rbac: {{default_role: reader, {roles}}}}}")
    assert access_rules(settings, profile).default_role == "custom:reader"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("enterprise: {rbac: {default_role: nobody}}", "default_role"),
        ("enterprise: {rbac: {custom_roles: [{name: x, permissions: [all]}]}}", "custom_roles"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, settings: Settings, text: str, said: str) -> None:
    profile = written(tmp_path, text)
    with pytest.raises(Invalid, match=said):
        access_rules(settings, profile)
