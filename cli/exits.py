"""How the command ends: exit codes for scripts, and what is said when something goes wrong."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """The exit codes, on which a script may branch."""

    OK = 0
    ERROR = 1
    USAGE = 2
    FAILED = 3
    INCOMPLETE = 4
    CANCELLED = 5
    REFUSED = 6
    NOT_FOUND = 7
    CONFLICT = 8
    UNAVAILABLE = 9
    INTERRUPTED = 130


EXIT_CODES: Final = """Exit codes:
0 completed, or done
1 unexpected error
2 wrong usage, or input that the gateway refuses
3 the run failed, or the audit log is broken
4 the run is incomplete (a limit)
5 the run was cancelled
6 refused (401, 403)
7 not found
8 conflict
9 gateway not reachable, unavailable or overloaded
130 interrupted (the run goes on)."""
"""Shown at the end of `taskforce --help`."""

_OF_RUN: Final = {
    "completed": Exit.OK,
    "failed": Exit.FAILED,
    "incomplete": Exit.INCOMPLETE,
    "cancelled": Exit.CANCELLED,
}
FINAL: Final = frozenset(_OF_RUN)
"""The statuses after which nothing more happens to a run."""

_OF_STATUS: Final = {
    400: Exit.USAGE,
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    410: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.USAGE,
    429: Exit.UNAVAILABLE,
    502: Exit.UNAVAILABLE,
    503: Exit.UNAVAILABLE,
    504: Exit.UNAVAILABLE,
}
_OF_KIND: Final = {
    "invalid": Exit.USAGE,
    "unauthenticated": Exit.REFUSED,
    "forbidden": Exit.REFUSED,
    "missing": Exit.NOT_FOUND,
    "conflict": Exit.CONFLICT,
    "stale": Exit.CONFLICT,
    "limited": Exit.UNAVAILABLE,
    "unavailable": Exit.UNAVAILABLE,
}


class Trouble(Exception):
    """Raised to end the command with an exit code and a message.

    Args:
        exit_code: What the script sees.
        code: Stable identifier, the gateway's own where it gave one.
        message: For a person.
        hint: What to do about it.
        status: The HTTP status, if an answer came.
        request_id: Names the request in the gateway's log.
    """

    def __init__(
        self,
        exit_code: Exit,
        code: str,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status
        self.request_id = request_id

    def document(self) -> dict[str, object]:
        """Returns the JSON object that `--json` prints instead of a result."""
        error = {"code": self.code, "detail": self.message, "hint": self.hint or None}
        facts = {"status": self.status, "request_id": self.request_id, "exit_code": int(self.exit_code)}
        return {"error": {**error, **facts}}


def exit_of_run(status: str) -> Exit:
    """Returns the exit code for a run that ended with this status."""
    return _OF_RUN.get(status, Exit.ERROR)


def exit_of_status(status: int) -> Exit:
    """Returns the exit code for an answer with this HTTP status."""
    return _OF_STATUS.get(status, Exit.ERROR)


def exit_of_kind(kind: str) -> Exit:
    """Returns the exit code for an error of the product's own library."""
    return _OF_KIND.get(kind, Exit.ERROR)
