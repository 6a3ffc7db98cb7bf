"""Kill switches: who may pull which, with what reason, and what they tell."""

from datetime import UTC, datetime

import pytest

from taskforce.core.domain.errors import MAY_PASS, Forbidden, Invalid, Unavailable
from taskforce.core.domain.runs.kill_switches import (
    MAX_REASON,
    KillSwitch,
    SwitchScope,
    SwitchTarget,
    require_released,
)

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def pulled(scope: SwitchScope, reason: str = "fire") -> KillSwitch:
    return KillSwitch.pulled(SwitchTarget("acme", scope), reason, "ada", NOW)


@pytest.mark.parametrize("scope", SwitchScope)
def test_only_the_operator_halts_the_installation_and_other_tenants(scope: SwitchScope) -> None:
    target = SwitchTarget("acme", scope)
    target.require_authority(by_operator=True)
    if scope in {SwitchScope.TENANT, SwitchScope.AGENT}:
        target.require_authority(by_operator=False)
    else:
        with pytest.raises(Forbidden):
            target.require_authority(by_operator=False)


@pytest.mark.parametrize("reason", ["", " \n", "x" * (MAX_REASON + 1)])
def test_a_switch_is_pulled_with_a_reason(reason: str) -> None:
    with pytest.raises(Invalid):
        pulled(SwitchScope.TENANT, reason)


def test_a_halted_step_may_pass_and_tells_the_widest_switch() -> None:
    require_released(())
    with pytest.raises(Unavailable) as halted:
        require_released([pulled(SwitchScope.AGENT), pulled(SwitchScope.INSTALLATION), pulled(SwitchScope.TENANT)])
    assert halted.value.kind in MAY_PASS
    assert halted.value.message == (
        "The whole installation is halted: the platform's operator ada pulled its kill switch. Reason: fire"
    )
