"""What the gateway builds before it listens, no request waits for."""

import gc
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies import utils

from api.__main__ import prepare
from api.app import create_app
from api.composition import GatewayContext

NOT_OPENED = cast("GatewayContext", None)


@pytest.fixture
def app() -> Iterator[FastAPI]:
    yield create_app(NOT_OPENED)
    gc.unfreeze()


async def test_no_request_builds_routes(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = utils.get_dependant

    def counted(**how: object) -> object:
        built.append(str(how["path"]))
        return build(**how)  # type: ignore[arg-type]

    prepare(app)
    monkeypatch.setattr("fastapi.routing.get_dependant", counted)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        statuses = {path: (await client.put(path)).status_code for path in ("/api/v1/admin/agents", "/openapi.json")}
    assert statuses == {"/api/v1/admin/agents": 405, "/openapi.json": 405}
    assert built == []


def test_what_is_loaded_at_the_start_is_not_collected_again(app: FastAPI) -> None:
    prepare(app)
    assert gc.get_freeze_count() > len(gc.get_objects())
