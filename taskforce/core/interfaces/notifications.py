"""The protocol of live notifications from workers to gateways."""

from typing import Protocol


class Live(Protocol):
    """Notifies the watchers of a run; a lost notification loses nothing durable."""

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None:
        """Sends a piece of the model's text."""
        ...

    def changed(self, tenant_id: str, run_id: str) -> None:
        """Notifies of new committed milestones."""
        ...
