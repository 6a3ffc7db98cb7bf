"""The difference between two definitions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from taskforce.core.domain.canonical_json import canonical_json

ChangeKind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """One difference between two definitions.

    Attributes:
        path: JSON pointer (RFC 6901) to the value.
        kind: Whether the value was added, removed or changed.
        before: The earlier value; None when it was added.
        after: The later value; None when it was removed.
    """

    path: str
    kind: ChangeKind
    before: object = None
    after: object = None


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[DefinitionChange, ...]:
    """Lists the differences by path; objects are compared member by member, other values as a whole."""
    return tuple(_differences(before, after, ""))


def _differences(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[DefinitionChange]:
    for name in sorted({*before, *after}):
        here = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        was, now = before.get(name), after.get(name)
        if name not in before:
            yield DefinitionChange(here, "added", after=now)
        elif name not in after:
            yield DefinitionChange(here, "removed", before=was)
        elif isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _differences(was, now, here)
        # Compared by canonical form: Python's `==` calls 1 and true equal.
        elif canonical_json(was) != canonical_json(now):
            yield DefinitionChange(here, "changed", was, now)
