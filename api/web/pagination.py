"""Cursors of pages: positions in lists, opaque to callers."""

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from api.schemas.pages import PageOut
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.usage_records import RecordPlace

Found = TypeVar("Found")
Item = TypeVar("Item")

LARGEST_STEP = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=100, description="Items of a page")]
Cursor = Annotated[str | None, Query(max_length=2_000, description="`next_cursor` of the page before")]


def page(
    kind: type[PageOut[Item]],
    items: Iterable[Item],
    *,
    found: Sequence[Found],
    limit: int,
    cursor_of: Callable[[Found], str],
) -> PageOut[Item]:
    """Builds a page of a list of which one item more than the limit was read, to know whether a next page exists.

    Args:
        kind: The page's type; its items are not validated again.
        items: The rendered items of the first `limit` rows; they may be fewer than the rows.
        found: The rows that were read.
        limit: The size of a page.
        cursor_of: Returns the cursor after a row.
    """
    # One item more than fits was read, which says whether there is another page.
    next_cursor = cursor_of(found[limit - 1]) if len(found) > limit else None
    # The items come from the domain, not from outside: validating a page of them again would only take time.
    return kind.model_construct(items=list(items), next_cursor=next_cursor)


def place_cursor(at: datetime, item_id: str) -> str:
    """Encodes the position after an item of a list that is ordered by time and id."""
    return _encoded(f"{at.astimezone(UTC).isoformat()}|{item_id}")


def parse_place(cursor: str | None) -> tuple[datetime, str] | None:
    """Decodes a cursor of `place_cursor`.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return None
    try:
        at, _, item_id = _decoded(cursor).partition("|")
        place = datetime.fromisoformat(at), str(UUID(item_id))
    except ValueError:
        raise _invalid() from None
    # Several texts decode to the same place; only the one that we give is taken.
    if place[0].tzinfo is not UTC or place_cursor(*place) != cursor:
        raise _invalid()
    return place


def step_cursor(step: int) -> str:
    """Encodes the position after a step."""
    return _encoded(f"step|{step}")


def parse_step(cursor: str | None) -> int:
    """Decodes a cursor of `step_cursor`; 0 without a cursor.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return 0
    kind, _, step = _decoded(cursor).partition("|")
    valid = kind == "step" and step.isascii() and step.isdigit() and len(step) <= len(str(LARGEST_STEP))
    # A page's length is added to it, and the sum must fit PostgreSQL's integer.
    if not valid or step_cursor(int(step)) != cursor or int(step) > LARGEST_STEP - 1_000:
        raise _invalid()
    return int(step)


def text_cursor(key: str) -> str:
    """Encodes the position after an item of a list that is ordered by a text."""
    return _encoded(f"key|{key}")


def parse_text(cursor: str | None) -> str | None:
    """Decodes a cursor of `text_cursor`.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return None
    kind, _, key = _decoded(cursor).partition("|")
    # PostgreSQL's texts hold no NUL.
    if kind != "key" or text_cursor(key) != cursor or "\x00" in key:
        raise _invalid()
    return key


def name_cursor(kind: str, name: str) -> str:
    """Encodes the position after an item of a list that is ordered by kind and name."""
    return _encoded(f"name|{kind}|{name}")


def parse_name(cursor: str | None) -> tuple[str, str] | None:
    """Decodes a cursor of `name_cursor`.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return None
    of, _, place = _decoded(cursor).partition("|")
    kind, _, name = place.partition("|")
    # PostgreSQL's texts hold no NUL.
    if of != "name" or name_cursor(kind, name) != cursor or "\x00" in place:
        raise _invalid()
    return kind, name


def rank_cursor(rank: float, item_id: str) -> str:
    """Encodes the position after an item of a list that is ordered by search rank and id."""
    return _encoded(f"rank|{rank!r}|{item_id}")


def parse_rank(cursor: str | None) -> tuple[float, str] | None:
    """Decodes a cursor of `rank_cursor`.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return None
    try:
        kind, rank, item_id = _decoded(cursor).split("|")
        place = float(rank), str(UUID(item_id))
    except ValueError:
        raise _invalid() from None
    # NaN compares with nothing: the page after it would be empty.
    if kind != "rank" or not isfinite(place[0]) or rank_cursor(*place) != cursor:
        raise _invalid()
    return place


def record_cursor(place: RecordPlace) -> str:
    """Encodes the position after a usage record."""
    at, *key = place
    return _encoded("|".join(["usage", at.astimezone(UTC).isoformat(), *map(str, key)]))


def parse_record(cursor: str | None) -> RecordPlace | None:
    """Decodes a cursor of `record_cursor`.

    Raises:
        Invalid: `cursor_invalid`.
    """
    if cursor is None:
        return None
    try:
        kind, at, run_id, *numbers = _decoded(cursor).split("|")
        step, call, attempt, part = (int(number) for number in numbers)
        place = RecordPlace(datetime.fromisoformat(at), str(UUID(run_id)), step, call, attempt, part)
    except ValueError:
        raise _invalid() from None
    fits = all(0 <= number <= LARGEST_STEP for number in (step, call, attempt, part))
    if kind != "usage" or not fits or place.at.tzinfo is not UTC or record_cursor(place) != cursor:
        raise _invalid()
    return place


def _encoded(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _invalid() from None


def _invalid() -> Invalid:
    return Invalid(
        "cursor_invalid", "No page has this cursor. Send `next_cursor` as it came, or leave it out for the first page."
    )
