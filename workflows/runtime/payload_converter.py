"""How messages become payloads: small, and whatever somebody sends as a signal can at least be refused."""

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter, ToJsonOptions


class Undecodable:
    """Stands for a payload that cannot be read."""


class SparsePydantic(PydanticPayloadConverter):
    """Leaves unset fields out, which keeps histories small."""

    def __init__(self) -> None:
        super().__init__(ToJsonOptions(exclude_unset=True))

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Reads payloads; where nobody says of what type they are, as with our signals, also those that are none.

        The SDK drops a signal that it cannot read, and nobody would hear of it.
        """
        if type_hints is not None:
            return super().from_payloads(payloads, type_hints)
        return [self._read(payload) for payload in payloads]

    def _read(self, payload: Payload) -> object:
        try:
            [value] = super().from_payloads([payload], None)
        except Exception:  # noqa: BLE001 - whatever the payload makes of the decoders
            return Undecodable()
        return value


def is_readable(payload: Sequence[object]) -> bool:
    """Whether all of a signal's arguments could be read."""
    return not any(isinstance(one, Undecodable) for one in payload)
