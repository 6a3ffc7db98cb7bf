"""Live notifications from workers to gateways."""

from typing import Protocol


class Live(Protocol):
    """Tells those who watch a run that something happened; losing a message loses nothing durable."""

    def text(self, tenant_id: str, run_id: str, step: int, attempt: int, text: str) -> None:
        """A piece of the model's words."""
        ...

    def changed(self, tenant_id: str, run_id: str) -> None:
        """New milestones are committed."""
        ...
