"""The rules of deleting a tenant."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.tenants.deletion import (
    CompletedPhase,
    Deletion,
    DeletionOrder,
    DeletionStatus,
    Phase,
    drains_until,
    require_deletable,
    workflow_id,
)
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACME = Tenant("acme", "Acme", NOW, NOW)


def test_a_drain_has_an_end() -> None:
    assert drains_until(None, NOW) is None
    assert drains_until(1, NOW) == NOW + SECOND
    assert drains_until(30 * 86_400, NOW) == NOW + timedelta(days=30)
    for seconds in (0, -1, 30 * 86_400 + 1):
        with pytest.raises(Invalid) as refused:
            drains_until(seconds, NOW)
        assert refused.value.code == "drain_invalid"


@pytest.mark.parametrize("tenant", ["platform", "own"])
def test_nobody_deletes_the_ground_that_they_stand_on(tenant: str) -> None:
    require_deletable("acme", "own", "platform")
    with pytest.raises(Conflict) as refused:
        require_deletable(tenant, "own", "platform")
    assert refused.value.code == "not_your_own"


@pytest.mark.parametrize(
    ("tenant", "works"),
    [
        (ACME, True),
        (replace(ACME, runs_until=NOW - SECOND), True),
        (replace(ACME, status=TenantStatus.DISABLED), False),
        (replace(ACME, status=TenantStatus.DISABLED, runs_until=NOW + SECOND), False),
        (replace(ACME, status=TenantStatus.DELETING), False),
        (replace(ACME, status=TenantStatus.DELETING, runs_until=NOW), False),
        (replace(ACME, status=TenantStatus.DELETING, runs_until=NOW + SECOND), True),
    ],
)
def test_runs_work_in_a_tenant_that_is_active_or_drained_and_nobody_gets_into_the_latter(
    tenant: Tenant, works: bool
) -> None:
    assert lets_through(lambda: tenant.require_working(NOW)) is works
    assert lets_through(tenant.require_active) is (tenant.status is TenantStatus.ACTIVE)


def lets_through(require: Callable[[], None]) -> bool:
    try:
        require()
    except Forbidden as error:
        return error.code != "tenant_disabled"
    return True


def test_a_report_says_what_is_being_done_whatever_order_its_phases_come_in() -> None:
    report = Deletion(DeletionOrder("acme", "pia", NOW), "platform", NOW, {})
    seen = [report.status]
    for phase in Phase:
        report = replace(report, passed=(CompletedPhase(phase, NOW), *report.passed))
        seen.append(report.status)
    assert list(dict.fromkeys(seen)) == list(DeletionStatus)
    assert report.is_done
    assert report.facts(Phase.BEGUN) == {}


def test_the_workflow_id_is_the_tenants() -> None:
    assert workflow_id("acme") == "acme:deletion"
