"""Request headers that routes share: idempotency key, preferred wait, entity tags."""

import re
from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends, Header, Response

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.budget_ledgers import Ledger
from taskforce.core.domain.metering.money import plain

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
    """Checks the `Idempotency-Key` header and returns its value.

    Raises:
        Invalid: `idempotency_key_invalid`.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("idempotency_key_invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    return key


def wait_seconds(
    prefer: Annotated[str | None, Header(description="`wait=N`: seconds to wait for the end, at most 60")] = None,
) -> int | None:
    """Returns the seconds of `Prefer: wait=N` (RFC 7240), capped; a preference that cannot be read is ignored."""
    found = _WAIT.search(prefer or "")
    # Less than proxies wait: an answer that they give up on is lost, with the id of the run.
    return min(int(found[1]), MOST_PATIENT) if found else None


def seen_revision(
    if_match: Annotated[
        str | None, Header(description="The `ETag` of what you saw last: 412 when it has been changed since")
    ] = None,
) -> frozenset[int] | None:
    """Returns the revisions that `If-Match` names (RFC 9110, section 13.1.1); None when any will do.

    A weak tag, or one that this API never sends, matches no revision.

    Raises:
        Invalid: `if_match_invalid`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAGS.fullmatch(if_match.strip()):
        raise Invalid("if_match_invalid", 'If-Match takes ETags as they came, for example "3", or *.')
    return frozenset(int(one) for one in _REVISION.findall(if_match))


def tags_of(if_none_match: str) -> frozenset[str]:
    """Returns the entity tags that `If-None-Match` names, without the mark of weak ones (RFC 9110, section 13.1.2)."""
    return frozenset(one.strip().removeprefix("W/") for one in if_none_match.split(","))


Seen = Annotated[frozenset[int] | None, Depends(seen_revision)]


IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]


WaitSeconds = Annotated[int | None, Depends(wait_seconds)]


def mark_replayed(response: Response, *, replayed: bool) -> None:
    """Sets the `Idempotency-Replayed` header when the response repeats an earlier one."""
    if replayed:
        response.headers["idempotency-replayed"] = "true"


def mark_budgets(response: Response, ledgers: Iterable[Ledger]) -> None:
    """Says in `Taskforce-Budget-Remaining` what is left of budgets past their soft limit (RFC 9651, a list).

    Args:
        response: The response.
        ledgers: The ledgers that the request draws on.
    """
    low = [one for one in ledgers if one.soft_passed]
    if low:
        response.headers["taskforce-budget-remaining"] = ", ".join(_remaining(one) for one in low)


def _remaining(ledger: Ledger) -> str:
    unit = ledger.budget.currency or ledger.budget.unit.value
    return f'"{plain(ledger.left)}";unit="{unit}";limit="{plain(ledger.limit)}";budget="{ledger.budget.budget_id}"'
