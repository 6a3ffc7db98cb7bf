"""A delivery through the guarded client: its status counts, redirects are not followed, private places not asked."""

import gzip

import httpx
import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from tests.taskforce.infrastructure.net.hosts import PUBLIC, Names, Wire, redirect
from tests.taskforce.infrastructure.net.http_server import Web

URL = "https://hooks.example.com/in?a=b"
HEADERS = {"content-type": "application/json", "webhook-id": "1"}


async def post(http: GuardedHttp, url: str = URL, seconds: float = 5.0) -> tuple[int | None, str, str | None]:
    answered = await http.post(url, tenant_id="acme", headers=HEADERS, body=b"{}", seconds=seconds, most_bytes=16)
    return answered.http_status, answered.excerpt, answered.reason


async def test_it_goes_to_the_address_that_was_checked_in_the_name_of_the_receiver() -> None:
    wire, names = Wire(), Names([PUBLIC], ["127.0.0.1"])
    assert await post(GuardedHttp(resolve=names, transport=wire)) == (200, "ok", None)
    [sent] = wire.sent
    assert (sent.method, str(sent.url), sent.content) == ("POST", f"https://{PUBLIC}/in?a=b", b"{}")
    assert (sent.headers["host"], sent.extensions["sni_hostname"]) == ("hooks.example.com", "hooks.example.com")
    assert names.asked == [("hooks.example.com", 443)]


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"])
async def test_a_name_that_leads_to_a_private_address_is_not_asked(address: str) -> None:
    wire = Wire()
    status, _, reason = await post(GuardedHttp(resolve=Names([PUBLIC, address]), transport=wire))
    assert (status, wire.sent) == (None, [])
    assert reason == "hooks.example.com is not a public internet address, so it may not be asked."


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    wire = Wire(redirect("https://elsewhere.example.com/", status))
    assert (await post(GuardedHttp(resolve=Names([PUBLIC]), transport=wire)))[0] == status
    assert len(wire.sent) == 1


async def test_of_the_answer_only_the_beginning_is_kept() -> None:
    wire = Wire(httpx.Response(500, stream=httpx.ByteStream(b"x" * 1_000_000)))
    assert await post(GuardedHttp(resolve=Names([PUBLIC]), transport=wire)) == (500, "x" * 16, None)


@pytest.mark.parametrize(
    ("encoding", "body"),
    # Without the time of packing, which would be part of the test's name.
    [("br", b"whatever"), ("gzip", b"not gzip"), ("gzip", gzip.compress(b"", mtime=0)[:5])],
)
async def test_a_body_that_cannot_be_read_takes_nothing_from_the_status(encoding: str, body: bytes) -> None:
    wire = Wire(httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body)))
    assert await post(GuardedHttp(resolve=Names([PUBLIC]), transport=wire)) == (200, "", None)


async def test_a_body_that_does_not_end_takes_nothing_from_the_status(web: Web) -> None:
    web.answers["/"] = b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\nhalf"
    answered = await post(GuardedHttp(frozenset({web.place})), web.url("/"), seconds=0.3)
    assert answered[0] == 200


async def test_silence_is_no_answer(web: Web) -> None:
    web.silent.add("/")
    answered = await post(GuardedHttp(frozenset({web.place})), web.url("/"), seconds=0.2)
    assert answered == (None, "", f"{web.place} did not answer within 0.2 seconds.")


@pytest.mark.parametrize("url", ["nonsense", "ftp://hooks.example.com/", "http://u:p@hooks.example.com/"])
async def test_what_is_no_url_is_no_answer_either(url: str) -> None:
    wire = Wire()
    status, _, reason = await post(GuardedHttp(resolve=Names([PUBLIC]), transport=wire), url)
    assert (status, wire.sent) == (None, [])
    assert reason


def refused(urls: DeploymentUrls, url: str) -> bool:
    try:
        urls.check(url)
    except Invalid as invalid:
        return invalid.code == "webhook_url_invalid"
    return False


def test_outside_development_a_webhook_is_told_over_tls_alone() -> None:
    allowed = frozenset({"hooks.corp.example:8443", "127.0.0.1:9999"})
    strict, relaxed = DeploymentUrls(allowed), DeploymentUrls(allowed, development=True)
    for url, in_strict, in_relaxed in [
        (URL, True, True),
        ("https://hooks.corp.example:8443/", True, True),
        ("https://hooks.corp.example:8444/", False, False),
        ("http://hooks.example.com/", False, True),
        ("http://127.0.0.1:9999/", False, True),
        ("https://127.0.0.1:9999/", True, True),
        ("http://127.0.0.1:9998/", False, False),
        ("http://127.0.0.1/", False, False),
        ("https://10.1.2.3/", False, False),
        ("https://localhost/", False, False),
        (f"https://hooks.example.com/{'x' * 2_000}", False, False),
    ]:
        assert refused(strict, url) is not in_strict, url
        assert refused(relaxed, url) is not in_relaxed, url
