"""Table from SQLSTATE classes of PostgreSQL to the product's errors."""

from collections.abc import Callable, Mapping
from typing import Final

import asyncpg
import structlog

from taskforce.core.domain.errors import Conflict, DomainError, Invalid, Unavailable
from taskforce.core.interfaces.repositories.idempotency import DuplicateKey

LOST_CONNECTION: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises where the connection is gone; the last where it goes while a statement is being prepared."""

_log = structlog.get_logger(__name__)


class StatementError(Exception):
    """Reports a statement that PostgreSQL refused, which is a defect; the text omits all values."""


class _Refused(StatementError, DomainError):
    """Reports values that PostgreSQL refused.

    Args:
        code: See `DomainError`.
        message: The message, for the caller who sent the values.
        detail: The detail, for the log.
    """

    def __init__(self, code: str, message: str, detail: str) -> None:
        super().__init__(code, message)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class DataError(_Refused, Invalid):
    """Reports a value that no column takes; the same attempt would fail in the same way."""


class ConstraintError(_Refused, Conflict):
    """Reports a row that contradicts other rows."""


class DuplicateKeyError(ConstraintError, DuplicateKey):
    """Reports a row whose key exists already; a defect, unless the caller expects it."""


def translated(error: asyncpg.PostgresError) -> Exception:
    """Translates an error of PostgreSQL; a class that the table does not name is a defect."""
    state = error.sqlstate or ""
    meaning = statements_lost if state in _STATEMENTS_LOST else _MEANINGS.get(state[:2])
    return _defect(error) if meaning is None else meaning(error)


def unavailable(error: Exception) -> Unavailable:
    """Builds the error that PostgreSQL does not answer."""
    state = getattr(error, "sqlstate", None)
    hint = f" (SQLSTATE {state})" if state else ""
    return Unavailable("database_unavailable", f"PostgreSQL does not answer{hint}; nothing was changed. Try again.")


def statements_lost(error: asyncpg.PostgresError) -> Unavailable:
    """Builds the error that a pooler of transactions mixes up the statements that its clients have prepared."""
    return Unavailable(
        "statements_lost",
        f"DATABASE_URL leads to a pooler that does not keep prepared statements (SQLSTATE {error.sqlstate}). Use "
        "PgBouncer 1.21 or newer with max_prepared_statements above 0, or add ?prepared_statement_cache_size=0 to "
        "DATABASE_URL, with which each statement costs more.",
    )


def _busy(error: asyncpg.PostgresError) -> Unavailable:
    text = f"Others are changing the same (SQLSTATE {error.sqlstate}); nothing was changed. Try again."
    return Unavailable("database_busy", text, retry_after=1)


def _bad_data(error: asyncpg.PostgresError) -> DataError:
    text = f"Something that was sent cannot be stored (SQLSTATE {error.sqlstate}); nothing was changed."
    return DataError("data_invalid", text, _logged(error))


def _conflict(error: asyncpg.PostgresError) -> ConstraintError:
    text = f"What was sent does not fit what is stored (SQLSTATE {error.sqlstate}); nothing was changed."
    kind = DuplicateKeyError if isinstance(error, asyncpg.UniqueViolationError) else ConstraintError
    return kind("data_conflict", text, _detail(error) if kind is DuplicateKeyError else _logged(error))


def _defect(error: asyncpg.PostgresError) -> StatementError:
    return StatementError(_detail(error))


def _logged(error: asyncpg.PostgresError) -> str:
    # Logged, because callers see a refusal, and the missing check that let the value through would go unnoticed.
    detail = _detail(error)
    _log.warning("database.refused", detail=detail)
    return detail


def _detail(error: asyncpg.PostgresError) -> str:
    # In these classes (23 constraint, 42 access and syntax) the message names columns; in others it quotes values.
    state = error.sqlstate or ""
    said = getattr(error, "message", None) if state[:2] in {"23", "42"} else None
    return f"{type(error).__name__} (SQLSTATE {state}){f': {said}' if said else ''}"


# One that another of the pooler's connections has prepared, and one that another client has prepared by that name.
_STATEMENTS_LOST = frozenset({"26000", "42P05"})
_MEANINGS: Final[Mapping[str, Callable[[asyncpg.PostgresError], Exception]]] = {
    "08": unavailable,  # connection
    "22": _bad_data,  # a text that holds NUL, an id that is none, a number out of range
    "23": _conflict,  # a constraint
    "28": unavailable,  # not let in
    "3D": unavailable,  # no such database
    "40": _busy,  # a deadlock, a transaction that lost against another
    "53": unavailable,  # out of resources, a full disk among them
    "54": _bad_data,  # too large for an index, too deep
    "55": _busy,  # a lock that is not to be had
    "57": unavailable,  # shut down, or cut off
    "58": unavailable,  # the system under it
}
