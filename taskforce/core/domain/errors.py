"""Domain errors: the expected failures of the product, by kind.

DomainError
├── Invalid          the request is malformed or violates a rule
├── Unauthenticated  the credential is missing or not valid
├── Forbidden        the principal lacks a right
├── Missing          the resource does not exist in the caller's tenant
├── Conflict         the resource's state does not allow the request
├── Stale            the resource has changed since the caller read it
├── Limited          a limit on rate or amount is reached
└── Unavailable      a dependency does not answer

A `code` is stable, for callers to branch on; the message is for people. Two tables elsewhere map a kind: one to
HTTP statuses (`api/web/problems.py`), one to Temporal failures (`activities/errors.py`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """The kind of an error, by which callers and mappings react."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    STALE = "stale"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


MAY_PASS = frozenset({Kind.LIMITED, Kind.UNAVAILABLE})
"""Kinds of which a retry may succeed; all others are reported at once."""


class DomainError(Exception):
    """The base of expected failures.

    Args:
        code: Stable snake_case identifier, for example `run_not_found`.
        message: One or two sentences for a person, with what to do where possible. Never holds a secret.
        retry_after: Seconds after which a retry makes sense; None when not known.
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
    """The request is malformed or violates a rule; a retry does not help."""

    kind = Kind.INVALID


class Unauthenticated(DomainError):
    """The credential is missing or not valid."""

    kind = Kind.UNAUTHENTICATED


class Forbidden(DomainError):
    """The principal lacks a right."""

    kind = Kind.FORBIDDEN


class Missing(DomainError):
    """The resource does not exist in the caller's tenant."""

    kind = Kind.MISSING


class Conflict(DomainError):
    """The resource's state does not allow the request."""

    kind = Kind.CONFLICT


class Stale(DomainError):
    """The resource's revision is not the one that the caller named."""

    kind = Kind.STALE


class Limited(DomainError):
    """A limit on rate or amount was reached."""

    kind = Kind.LIMITED


class Unavailable(DomainError):
    """A dependency does not answer; the same request may succeed later."""

    kind = Kind.UNAVAILABLE
