"""What the gateway builds before it listens, no request waits for."""

import gc
from collections.abc import Iterator

import httpx
import pytest
from fastapi.dependencies import utils
from fastapi.responses import JSONResponse

from api.__main__ import prepare
from api.app import Gateway, create_app


@pytest.fixture
def app() -> Iterator[Gateway]:
    yield create_app(None)
    gc.unfreeze()


async def test_no_request_builds_routes(app: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_is_loaded_at_the_start_is_not_collected_again(app: Gateway) -> None:
    prepare(app)
    assert gc.get_freeze_count() > len(gc.get_objects())


async def test_the_openapi_document_is_encoded_once_and_sent_once_to_each(
    app: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(app)
    monkeypatch.delattr(JSONResponse, "render")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        answers = [await client.get("/openapi.json") for _ in range(2)]
        tag = answers[0].headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = await client.get("/openapi.json", headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = await client.get("/openapi.json", headers={"if-none-match": '"other"'})
    assert {answer.content for answer in (*answers, other)} == {app.document.body}
    assert answers[0].json() == app.openapi()
    assert answers[0].headers["content-type"] == "application/json"
