"""Reads a stream of server-sent events."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx


async def follow(
    client: httpx.AsyncClient, path: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """(type, data) of each event, until the stream ends; milestones carry their id as `data["seq"]`."""
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            elif "data" in fields:
                data = json.loads(fields["data"])
                assert fields.get("id") == (str(data["seq"]) if "seq" in data else None)
                yield fields["event"], data
                fields = {}
