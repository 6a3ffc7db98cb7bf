"""The repository of kill switches, within one transaction of one tenant."""

from collections.abc import Sequence
from typing import Protocol

from taskforce.core.domain.runs.kill_switches import KillSwitch, SwitchTarget


class KillSwitches(Protocol):
    """The repository of the tenant's pulled kill switches, which also reads that of the installation."""

    async def halting(self, agent_id: str) -> Sequence[KillSwitch]:
        """Returns the pulled switches that halt an agent of the tenant."""
        ...

    async def get(self, target: SwitchTarget) -> KillSwitch | None:
        """Returns a pulled switch; None when it is not pulled."""
        ...

    async def add(self, switch: KillSwitch) -> bool:
        """Adds a pulled switch; False when it is pulled already, which is left unchanged."""
        ...

    async def remove(self, target: SwitchTarget) -> bool:
        """Removes a pulled switch; False when it is not pulled."""
        ...
