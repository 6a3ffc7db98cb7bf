"""What stops a run: its cancellation, or a kill switch, which halts the runs of an agent, a tenant or all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from taskforce.core.domain.errors import Conflict, Forbidden, Invalid, Unavailable

HALTED: Final = "halted"
"""The error code of a step that a kill switch refuses; a run that meets it waits."""
RUN_CANCELLED: Final = "run_cancelled"
"""The error code of a step whose run is to be cancelled; the request is on its way to the workflow."""
MAX_REASON: Final = 500
RELEASE_SECONDS: Final = 60
"""Seconds after which a caller whose new run was refused may ask again."""


class SwitchScope(StrEnum):
    """The extent of a kill switch, which says who may pull it."""

    INSTALLATION = "installation"
    TENANT_BY_OPERATOR = "tenant_by_operator"
    TENANT = "tenant"
    AGENT = "agent"

    @property
    def is_operators(self) -> bool:
        """Returns whether only the platform's operator may pull it and let it go."""
        return self in {SwitchScope.INSTALLATION, SwitchScope.TENANT_BY_OPERATOR}


_NAMES: Final = {
    SwitchScope.INSTALLATION: "The whole installation",
    SwitchScope.TENANT_BY_OPERATOR: "This tenant",
    SwitchScope.TENANT: "This tenant",
    SwitchScope.AGENT: "This agent",
}


@dataclass(frozen=True, slots=True)
class SwitchTarget:
    """The part of the platform that a kill switch halts.

    Attributes:
        tenant_id: The tenant that it halts; for the installation, the platform's tenant.
        scope: What it halts.
        agent_id: The agent that it halts; empty for all agents.
    """

    tenant_id: str
    scope: SwitchScope
    agent_id: str = ""

    @property
    def resource_id(self) -> str:
        """Returns the name of the switch in the audit log."""
        return self.agent_id if self.scope is SwitchScope.AGENT else self.scope.value

    def require_authority(self, *, by_operator: bool) -> None:
        """Requires that the actor may pull it and let it go.

        Raises:
            Forbidden: `operator_only`.
        """
        if self.scope.is_operators and not by_operator:
            raise Forbidden("operator_only", "Only the platform's operator pulls this kill switch and lets it go.")


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A kill switch that is pulled; one that was let go is not stored.

    Attributes:
        scope: What it halts.
        agent_id: The agent that it halts; empty for all agents.
        reason: Why it was pulled, for people.
        pulled_by: The user who pulled it.
        pulled_at: When it was pulled, UTC.
    """

    scope: SwitchScope
    agent_id: str
    reason: str
    pulled_by: str
    pulled_at: datetime

    @classmethod
    def pulled(cls, target: SwitchTarget, reason: str, by: str, now: datetime) -> "KillSwitch":
        """Pulls a switch.

        Args:
            target: What it halts.
            reason: Why, for people.
            by: The user who pulls it.
            now: The time, UTC.

        Raises:
            Invalid: `reason_invalid`: the reason is empty or longer than `MAX_REASON`.
        """
        text = reason.strip()
        if not 0 < len(text) <= MAX_REASON:
            raise Invalid("reason_invalid", f"Say why, in 1 to {MAX_REASON} characters.")
        return cls(target.scope, target.agent_id, text, by, now)


@dataclass(frozen=True, slots=True)
class ListedSwitch:
    """A pulled kill switch in a list.

    Attributes:
        tenant_id: The tenant that it halts; for the installation, the platform's tenant.
        switch: The switch.
    """

    tenant_id: str
    switch: KillSwitch

    @property
    def place(self) -> tuple[str, str, str]:
        """Returns its place in lists, which are ordered by it: tenant, scope, agent."""
        return self.tenant_id, self.switch.scope.value, self.switch.agent_id


def require_released(switches: Sequence[KillSwitch], *, retry_after: float | None = None) -> None:
    """Requires that no kill switch halts a run.

    Args:
        switches: The pulled switches that concern it.
        retry_after: Seconds after which a retry makes sense; None leaves it to the caller.

    Raises:
        Unavailable: `halted`; its message says of the widest switch who pulled it and why.
    """
    if switches:
        widest = min(switches, key=lambda one: tuple(SwitchScope).index(one.scope))
        what, by = _NAMES[widest.scope], widest.pulled_by
        who = f"the platform's operator {by}" if widest.scope.is_operators else by
        text = f"{what} is halted: {who} pulled its kill switch. Reason: {widest.reason}"
        raise Unavailable(HALTED, text, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class RunStop:
    """The reasons that stop a run at the moment of a step.

    Attributes:
        switches: The pulled kill switches that concern it.
        is_cancelled: Whether its cancellation was requested.
    """

    switches: tuple[KillSwitch, ...] = ()
    is_cancelled: bool = False

    def __bool__(self) -> bool:
        return self.is_cancelled or bool(self.switches)

    def require_none(self) -> None:
        """Requires that nothing stops the run.

        Raises:
            Conflict: `run_cancelled`.
            Unavailable: As `require_released`.
        """
        self.require_not_cancelled()
        require_released(self.switches)

    def require_not_cancelled(self) -> None:
        """Requires that the run is not to be cancelled.

        Raises:
            Conflict: `run_cancelled`.
        """
        if self.is_cancelled:
            raise Conflict(RUN_CANCELLED, "The run's cancellation was requested, so nothing more is begun.")
