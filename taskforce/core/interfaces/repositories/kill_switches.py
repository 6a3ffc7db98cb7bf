"""The repository of kill switches, within one transaction of one tenant."""

from collections.abc import Sequence
from typing import Protocol

from taskforce.core.domain.runs.kill_switches import KillSwitch, ListedSwitch, SwitchTarget


class KillSwitches(Protocol):
    """The repository of the tenant's pulled kill switches, which also reads that of the installation."""

    async def halting(self, agent_id: str) -> Sequence[KillSwitch]:
        """Returns the pulled switches that halt an agent of the tenant."""
        ...

    async def get(self, target: SwitchTarget) -> KillSwitch | None:
        """Returns a pulled switch; None when it is not pulled."""
        ...

    async def page(self, after: tuple[str, str, str] | None, most: int) -> Sequence[ListedSwitch]:
        """Returns a page of the tenant's pulled switches and that of the installation, after a place."""
        ...

    async def add(self, switch: KillSwitch) -> bool:
        """Adds a pulled switch; False when it is pulled already, which is left unchanged."""
        ...

    async def remove(self, target: SwitchTarget) -> bool:
        """Removes a pulled switch; False when it is not pulled."""
        ...
