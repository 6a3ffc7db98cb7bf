"""Request headers that routes share: idempotency key, preferred wait, entity tags."""

import re
from typing import Annotated

from fastapi import Depends, Header, Response

from taskforce.core.domain.errors import Invalid

MOST_PATIENT = 60


_ETAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'


_ETAGS = re.compile(rf"{_ETAG}(?:[ \t]*,[ \t]*{_ETAG})*")


_REVISION = re.compile(r'(?<!W/)"([1-9][0-9]{0,8})"')


_KEY = re.compile(r"[\x20-\x7e]{1,255}")


_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE | re.ASCII)


def idempotency_key(
    key: Annotated[
        str | None, Header(alias="Idempotency-Key", description="1 to 255 printable ASCII characters")
    ] = None,
) -> str | None:
    """Accepts an idempotency key.

    Raises:
        Invalid: `idempotency_key_invalid`.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("idempotency_key_invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    return key


def wait_seconds(
    prefer: Annotated[str | None, Header(description="`wait=N`: seconds to wait for the end, at most 60")] = None,
) -> int | None:
    """How many seconds the caller is willing to wait (RFC 7240); a preference that makes no sense is no preference."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MOST_PATIENT) if found else None


def seen_revision(
    if_match: Annotated[
        str | None, Header(description="The `ETag` of what you saw last: 412 when it has been changed since")
    ] = None,
) -> frozenset[int] | None:
    """Which revisions a change is meant for (RFC 9110, section 13.1.1); None for any.

    A tag that is not one of ours, or a weak one, is none that anything has.

    Raises:
        Invalid: `if_match_invalid`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAGS.fullmatch(if_match.strip()):
        raise Invalid("if_match_invalid", 'If-Match takes ETags as they came, for example "3", or *.')
    return frozenset(int(one) for one in _REVISION.findall(if_match))


Seen = Annotated[frozenset[int] | None, Depends(seen_revision)]


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]


Patience = Annotated[int | None, Depends(wait_seconds)]


def mark_replayed(response: Response, *, replayed: bool) -> None:
    """Says in the answer's header that it repeats an earlier one."""
    if replayed:
        response.headers["idempotency-replayed"] = "true"
