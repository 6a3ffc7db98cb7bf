"""What can go wrong in the product's own terms.

DomainError
├── Invalid          the request itself is wrong
├── Unauthenticated  nobody, or nobody believable, is asking
├── Forbidden        somebody is asking who may not
├── Missing          it is not there, or not there for you
├── Conflict         it is there, but not in a state that allows this
├── Stale            it has changed since the caller looked at it
├── Limited          too much, too fast; later is fine
└── Unavailable      a part that we depend on does not answer

A `code` is stable and is what callers branch on; the message is for people. Two tables elsewhere map a kind: one to
HTTP statuses (`api/web/problems.py`), one to Temporal failures (`activities/errors.py`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """The families that a caller can react to."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    STALE = "stale"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


MAY_PASS = frozenset({Kind.LIMITED, Kind.UNAVAILABLE})
"""What may succeed when the same is done again; everything else is told at once."""


class DomainError(Exception):
    """An expected failure.

    Args:
        code: Stable snake_case identifier, for example `run_not_found`.
        message: One or two sentences for a person; says what to do where something can be done. Never holds a secret.
        retry_after: Seconds after which a retry makes sense, where known.
        details: Further facts for the caller, JSON-compatible.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.details: Mapping[str, object] = details or {}


class Invalid(DomainError):
    """The request is wrong and will be wrong again."""

    kind = Kind.INVALID


class Unauthenticated(DomainError):
    """There is no principal that we believe."""

    kind = Kind.UNAUTHENTICATED


class Forbidden(DomainError):
    """The principal is known and may not."""

    kind = Kind.FORBIDDEN


class Missing(DomainError):
    """There is no such thing in the caller's tenant."""

    kind = Kind.MISSING


class Conflict(DomainError):
    """The thing's state does not allow it."""

    kind = Kind.CONFLICT


class Stale(DomainError):
    """The thing is not any more what the caller saw, and said so."""

    kind = Kind.STALE


class Limited(DomainError):
    """A limit on rate or amount was reached."""

    kind = Kind.LIMITED


class Unavailable(DomainError):
    """A dependency does not answer; the same request may succeed later."""

    kind = Kind.UNAVAILABLE
