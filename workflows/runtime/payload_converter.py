"""The payload converter: omits unset fields, and decodes malformed signals to a marker."""

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter, ToJsonOptions


class Undecodable:
    """Marks an undecodable payload."""


class SparsePydantic(PydanticPayloadConverter):
    """Serializes without unset fields, which keeps histories small."""

    def __init__(self) -> None:
        super().__init__(ToJsonOptions(exclude_unset=True))

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Decodes payloads; without type hints, as for signals, an undecodable one becomes `Undecodable`.

        The SDK would drop such a signal, and it could not be audited.
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
    """Tells whether all arguments of a signal were decoded."""
    return not any(isinstance(one, Undecodable) for one in payload)
