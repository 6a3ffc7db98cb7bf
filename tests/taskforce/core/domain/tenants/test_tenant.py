"""What a tenant's settings say of a moment, and of what the tenant may use."""

from datetime import UTC, datetime, timedelta

import pytest

from taskforce.core.domain.tenants.tenant import FEATURES, TenantSettings

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize("days", [1, 90, 36_600])
def test_runs_are_kept_for_so_many_days_to_the_moment(days: int) -> None:
    since = TenantSettings.parse({"data_retention_days": days}).runs_kept_since(NOW)
    assert since == NOW - timedelta(days=days)


def test_who_says_nothing_keeps_everything() -> None:
    assert TenantSettings().runs_kept_since(NOW) is None


def test_the_time_zone_is_utc_unless_one_is_set() -> None:
    assert TenantSettings().zone is UTC
    assert str(TenantSettings.parse({"time_zone": "Asia/Kolkata"}).zone) == "Asia/Kolkata"


def test_no_features_said_is_all_of_them_and_an_empty_list_is_none() -> None:
    assert all(TenantSettings().allows(feature) for feature in FEATURES)
    assert not any(TenantSettings.parse({"features": []}).allows(feature) for feature in FEATURES)
    only = TenantSettings.parse({"features": ["rag"]})
    assert {feature for feature in FEATURES if only.allows(feature)} == {"rag"}
