"""The web through the guarded client."""

import pytest

from taskforce.core.interfaces.tools import HttpReply, ToolFailure
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, Postbox, call, lent

URL = "https://example.com/"


def reply(body: str, content_type: str, *, truncated: bool = False, status: int = 200) -> HttpReply:
    return HttpReply(status, {"content-type": content_type}, body, truncated, URL)


async def test_get_tells_what_came_back() -> None:
    http = Postbox(reply("<p>Hi", "text/html"))
    assert await call("http_get", lent(http=http), url=URL) == {
        "status": 200,
        "url": URL,
        "content_type": "text/html",
        "body": "<p>Hi",
    }
    assert http.sent == [("GET", URL, None, None)]


@pytest.mark.parametrize("content_type", ["", "text/plain; charset=utf-8", "application/json", "application/ld+json"])
async def test_text_is_shown(content_type: str) -> None:
    told = await call("http_get", lent(http=Postbox(reply("x", content_type, truncated=True))), url=URL)
    assert isinstance(told, dict)
    assert (told["body"], told["note"]) == ("x", "The body was longer and is cut.")


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "application/jsonish"])
async def test_what_is_not_text_is_left_out(content_type: str) -> None:
    told = await call("http_get", lent(http=Postbox(reply("\ufffd", content_type))), url=URL)
    assert isinstance(told, dict)
    assert told["body"] == ""


async def test_post_names_its_effect() -> None:
    http = Postbox(reply("{}", "application/json", status=201))
    told = await call("http_post", lent(http=http), url=URL, body='{"a": 1}')
    assert isinstance(told, dict)
    assert told["status"] == 201
    headers = {"Content-Type": "application/json", "Idempotency-Key": "r1/2/1"}
    assert http.sent == [("POST", URL, headers, b'{"a": 1}')]


async def test_a_redirect_that_is_not_followed_is_told_with_where_it_leads() -> None:
    answer = HttpReply(303, {"location": "/done"}, "", truncated=False, url=URL)
    told = await call("http_post", lent(http=Postbox(answer)), url=URL, body="")
    assert isinstance(told, dict)
    assert (told["status"], told["location"]) == (303, "/done")


@pytest.mark.parametrize("content_type", ["json", "text/plain\r\nX-Evil: 1", "text/plain\n", "a/b; x=y"])
async def test_a_content_type_cannot_smuggle_headers(content_type: str) -> None:
    http = Postbox()
    with pytest.raises(ToolFailure, match="content_type"):
        await BUILTIN.run("http_post", {"url": URL, "body": "", "content_type": content_type}, lent(http=http))
    assert http.sent == []


async def test_with_the_guarded_client_the_machine_itself_is_out_of_reach() -> None:
    with pytest.raises(ToolFailure, match="not a public"):
        await call("http_get", lent(http=GuardedHttp()), url="http://169.254.169.254/latest/meta-data/")


def test_their_schemas() -> None:
    url = {"type": "string", "minLength": 1, "maxLength": 4096, "description": "An http or https URL."}
    get, post = (BUILTIN.specs()[name].parameters for name in ("http_get", "http_post"))
    assert get == {"type": "object", "properties": {"url": url}, "required": ["url"], "additionalProperties": False}
    assert post["required"] == ["url", "body"]
    assert isinstance(post["properties"], dict)
    assert post["properties"].keys() == {"url", "body", "content_type"}
    assert post["properties"]["content_type"]["default"] == "application/json"
