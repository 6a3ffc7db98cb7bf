"""Checks of the shape of updates and signals of a request, whoever sent them.

A workflow calls them before it accepts one: an activity that can never store a value would be retried without end.
"""

import re
from collections.abc import Sequence
from typing import Final

from taskforce.core.domain.approvals.approval import MAX_COMMENT
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import is_id

MAX_NAME: Final = 255
"""Longest id of a user or a role, in characters."""
MAX_NAMES: Final = 100
MAX_LABEL: Final = 200

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def require_author(user_id: str, comment: str, key_id: str | None = None) -> None:
    """Requires a well-formed author and API key id, and a comment within its length.

    Raises:
        Invalid: `update_malformed`.
    """
    _require(_is_name(user_id), "a user's id")
    _require(len(comment) <= MAX_COMMENT, "the comment")
    _require(key_id is None or is_id(key_id), "the id of an API key")


def require_hashes(seen: str | None, edit: str | None) -> None:
    """Requires that both texts are SHA-256 in hex, or absent; requests before 2026-11 send an empty `seen`.

    Raises:
        Invalid: `update_malformed`.
    """
    _require(not seen or _HASH.fullmatch(seen) is not None, "the hash of what was shown")
    _require(edit is None or _HASH.fullmatch(edit) is not None, "the hash of what is proposed")


def require_deciders(roles: Sequence[str], people: Sequence[str], http_request: str | None) -> None:
    """Requires well-formed names of roles and people, within their number, and a well-formed HTTP request id.

    Raises:
        Invalid: `update_malformed`.
    """
    _require(max(len(roles), len(people)) <= MAX_NAMES, "the list of deciders")
    _require(all(map(_is_name, (*roles, *people))), "the name of a decider")
    fits = http_request is None or (len(http_request) <= MAX_LABEL and _UNSTORABLE.search(http_request) is None)
    _require(fits, "the id of the HTTP request")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and _UNSTORABLE.search(text) is None


def _require(fits: object, what: str) -> None:
    if not fits:
        raise Invalid("update_malformed", f"This is malformed: {what} cannot be that.")
