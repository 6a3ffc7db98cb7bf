"""Bodies that cost more than their bytes."""

import asyncio
import json
import tracemalloc

import pytest

from api.web.json_body import MAX_VALUES, check_body, check_json
from api.web.middleware import MAX_BODY
from taskforce.core.domain.errors import Invalid

COSTLY = {
    "lists": b"[" + b"[]," * (MAX_BODY // 3) + b"[]]",
    "objects": b"[" + b"{}," * (MAX_BODY // 3) + b"{}]",
    "numbers": b"[" + b"1," * (MAX_BODY // 2) + b"1]",
    "texts": b"[" + b'"",' * (MAX_BODY // 3) + b'""]',
    "keys": json.dumps({str(number): 1 for number in range(MAX_VALUES)}).encode(),
    "depth": b"[" * MAX_BODY,
}


@pytest.mark.parametrize("body", COSTLY.values(), ids=COSTLY)
def test_a_body_of_too_many_values_is_refused_before_they_are_made(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="more than"):
            check_json(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body)


def test_as_many_values_as_are_allowed() -> None:
    check_json(b"[" + b"1," * (MAX_VALUES - 2) + b"1]")


def test_a_long_text_of_marks_is_one_value() -> None:
    check_json(json.dumps({"mission": '[{,"' * 200_000}).encode())


async def test_a_large_body_is_checked_while_others_go_on() -> None:
    gone_on = asyncio.Event()
    asyncio.get_running_loop().call_soon(gone_on.set)
    await check_body(json.dumps(["x" * 40] * (MAX_VALUES // 4)).encode())
    assert gone_on.is_set()
