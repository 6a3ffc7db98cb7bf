"""The one way out leads to public places only, by whatever name, address or redirect one asks."""

import gzip
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from tests.taskforce.infrastructure.net.hosts import PUBLIC, Names, Wire, certificate_for, redirect
from tests.taskforce.infrastructure.net.http_server import Web, serving


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "http://127.0.0.2/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0x7F.1/",
        "http://127.0.0.0x1/",
        "http://127.0.0.1./",
        "http://00127.0.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://1.1.1.1.1/",
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://127%2e0%2e0%2e1/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://foo.localhost/",
        "http://localhost%00.example.com/",
        "http://postgres/",
        "http://printer.local/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://10.0.0.1/",
        "http://172.20.0.1/",
        "http://192.168.0.1/",
        "http://100.64.1.1/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::1%25lo]/",
        "http://[::127.0.0.1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        "http://example.com\\.127.0.0.1/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: 127.0.0.1",
        "http://example.com\t/",
        " http://example.com/",
        "http://example.com:22/",
        "http://example.com:0/",
        "http://example.com:8080/",
        "http://example.com:99999/",
        "http://example.com:80:80/",
        "http://example.com:x/",
        "http://-example.com/",
        "http://a..example.com/",
        f"http://{'a' * 64}.com/",
        f"http://example.com/{'a' * 9_000}",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "dict://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "unix:///var/run/docker.sock",
        "//example.com/",
        "example.com",
        "http:example.com",
        "http:/example.com",
        "http:///x",
        "http://",
        "",
    ],
)
async def test_refused_without_a_lookup_and_without_a_connection(url: str) -> None:
    names, wire = Names([PUBLIC]), Wire()
    with pytest.raises(ToolFailure):
        await GuardedHttp(resolve=names, transport=wire).request("GET", url)
    assert (names.asked, wire.sent) == ([], [])


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["10.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["fe80::1%2"], [PUBLIC, "10.0.0.1"], [], ["x"]],
)
async def test_a_name_that_leads_anywhere_else_is_refused(answer: list[str]) -> None:
    wire = Wire()
    with pytest.raises(ToolFailure) as failure:
        await GuardedHttp(resolve=Names(answer), transport=wire).request("GET", "http://example.com/")
    assert wire.sent == []
    assert not any(address in str(failure.value) for address in answer if len(address) > 1)


async def test_a_name_that_is_not_known_is_a_failure() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(ToolFailure, match="not known"):
        await GuardedHttp(resolve=unknown, transport=Wire()).request("GET", "http://example.com/")


async def test_the_connection_goes_to_the_checked_address_in_the_name_of_the_host() -> None:
    names, wire = Names([PUBLIC], ["127.0.0.1"]), Wire()
    reply = await GuardedHttp(resolve=names, transport=wire).request("GET", "https://Example.com./a?b=c#d")
    [sent] = wire.sent
    assert names.asked == [("example.com", 443)]
    assert (str(sent.url), sent.headers["host"]) == (f"https://{PUBLIC}/a?b=c", "example.com.")
    assert sent.extensions["sni_hostname"] == "example.com"
    assert (reply.status, reply.body, reply.url) == (200, "ok", "https://example.com./a?b=c")


async def test_a_name_that_rebinds_between_two_hops_is_refused_at_the_second() -> None:
    names, wire = Names([PUBLIC], ["127.0.0.1"]), Wire(redirect("/again"))
    with pytest.raises(ToolFailure, match="not a public"):
        await GuardedHttp(resolve=names, transport=wire).request("GET", "http://example.com/")
    assert [sent.url.host for sent in wire.sent] == [PUBLIC]


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    wire = Wire(httpx.ConnectError("refused"))
    http = GuardedHttp(resolve=Names(["2606:4700::1", PUBLIC]), transport=wire)
    assert (await http.request("POST", "http://example.com/", body=b"x")).status == 200
    assert [sent.url.host for sent in wire.sent] == ["2606:4700::1", PUBLIC]


async def test_a_request_that_may_have_arrived_is_not_sent_again() -> None:
    wire = Wire(httpx.ReadError("reset"))
    with pytest.raises(ToolFailure, match="ReadError"):
        await GuardedHttp(resolve=Names([PUBLIC, "1.1.1.1"]), transport=wire).request("GET", "http://example.com/")
    assert len(wire.sent) == 1


async def test_a_server_on_this_machine_is_refused_unless_it_is_allowed(web: Web) -> None:
    web.answer("/", b"inside")
    with pytest.raises(ToolFailure):
        await GuardedHttp().request("GET", web.url("/"))
    assert web.asked == []
    reply = await GuardedHttp(frozenset({web.place})).request("GET", web.url("/"))
    assert (reply.status, reply.body, reply.truncated, reply.url) == (200, "inside", False, web.url("/"))


async def test_an_allowed_name_is_looked_up_once_and_pinned_too(web: Web) -> None:
    web.answer("/", b"inside")
    names = Names(["127.0.0.1"], ["192.0.2.1"])
    http = GuardedHttp(frozenset({f"Wiki.Test:{web.port}"}), resolve=names)
    assert (await http.request("GET", f"http://wiki.test:{web.port}/")).body == "inside"
    assert web.asked[0].headers["host"] == f"wiki.test:{web.port}"
    assert len(names.asked) == 1


async def test_only_the_allowed_port_is_allowed(web: Web) -> None:
    with pytest.raises(ToolFailure):
        await GuardedHttp(frozenset({"127.0.0.1:1"})).request("GET", web.url("/"))
    assert web.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", ":80", "http://x:80", "x:", "x:y"])
def test_an_allowed_host_must_name_its_port(host: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        GuardedHttp(frozenset({host}))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "//127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:1/",
        "http://user:password@example.com/",
        "file:///etc/passwd",
        "http://[",
    ],
)
async def test_a_redirect_to_a_forbidden_place_is_refused(web: Web, location: str) -> None:
    web.redirect("/", location)
    with pytest.raises(ToolFailure):
        await GuardedHttp(frozenset({web.place})).request("GET", web.url("/"))
    assert len(web.asked) == 1


async def test_a_redirect_from_an_allowed_server_to_its_neighbour_is_refused(web: Web) -> None:
    async with serving() as neighbour:
        neighbour.answer("/", b"secret")
        web.redirect("/", neighbour.url("/"))
        with pytest.raises(ToolFailure, match="Port"):
            await GuardedHttp(frozenset({web.place})).request("GET", web.url("/"))
        assert neighbour.asked == []


async def test_redirects_are_followed_five_times(web: Web) -> None:
    for number in range(6):
        web.redirect(f"/{number}", f"/{number + 1}", status=(301, 302, 303, 307, 308, 302)[number])
    web.answer("/6", b"there")
    http = GuardedHttp(frozenset({web.place}))
    assert (await http.request("GET", web.url("/1"))).url == web.url("/6")
    with pytest.raises(ToolFailure, match="do not end"):
        await http.request("GET", web.url("/0"))


async def test_the_redirect_of_a_post_is_shown_and_not_followed(web: Web) -> None:
    web.redirect("/", "/elsewhere", status=307)
    reply = await GuardedHttp(frozenset({web.place})).request("POST", web.url("/"), body=b"x")
    assert (reply.status, reply.headers["location"], len(web.asked)) == (307, "/elsewhere", 1)


async def test_headers_stay_with_their_origin(web: Web) -> None:
    async with serving() as other:
        web.redirect("/here", "/there")
        web.redirect("/there", other.url("/"))
        headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/html"}
        await GuardedHttp(frozenset({web.place, other.place})).request("GET", web.url("/here"), headers=headers)
        [here, there], [elsewhere] = web.asked, other.asked
    assert here.headers["authorization"] == there.headers["authorization"] == "Bearer x"
    assert elsewhere.headers["accept"] == "text/html"
    assert not elsewhere.headers.keys() & {"authorization", "cookie", "x-api-key"}


async def test_nothing_is_kept_for_the_next_request(web: Web) -> None:
    web.answer("/", Set_Cookie="session=1; Path=/")
    http = GuardedHttp(frozenset({web.place}))
    for _ in range(2):
        await http.request("GET", web.url("/"))
    assert all("cookie" not in asked.headers for asked in web.asked)


async def test_neither_proxies_nor_netrc_of_the_environment_are_used(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    web.answer("/", b"direct")
    assert (await GuardedHttp(frozenset({web.place})).request("GET", web.url("/"))).body == "direct"
    assert "authorization" not in web.asked[0].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "a"},
        {"content-length": "1"},
        {"Proxy-Authorization": "x"},
        {"X-A": "a\r\nX-B: b"},
        {"a b": "c"},
        {"X": "ü"},
    ],
)
async def test_headers_that_would_change_the_request_itself_are_refused(headers: dict[str, str]) -> None:
    wire = Wire()
    with pytest.raises(ToolFailure):
        await GuardedHttp(transport=wire).request("GET", f"http://{PUBLIC}/", headers=headers)
    assert wire.sent == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "GET / HTTP/1.1\r\nX: y"])
async def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ToolFailure, match="method"):
        await GuardedHttp(transport=Wire()).request(method, f"http://{PUBLIC}/")


async def test_a_post_carries_its_body_and_headers(web: Web) -> None:
    web.answer("/", b"{}", status=201, Content_Type="application/json")
    http = GuardedHttp(frozenset({web.place}))
    reply = await http.request("POST", web.url("/"), headers={"Idempotency-Key": "r/1/1"}, body=b'{"a": 1}')
    [asked] = web.asked
    assert (reply.status, reply.headers["content-type"]) == (201, "application/json")
    assert (asked.method, asked.body, asked.headers["idempotency-key"]) == ("POST", b'{"a": 1}', "r/1/1")


async def test_a_long_body_is_cut(web: Web) -> None:
    web.answer("/", b"x" * 50_000)
    reply = await GuardedHttp(frozenset({web.place}), max_bytes=1_000).request("GET", web.url("/"))
    assert (reply.body, reply.truncated) == ("x" * 1_000, True)


async def test_a_bomb_is_bounded(web: Web) -> None:
    web.answer("/", gzip.compress(b"\0" * 30_000_000), Content_Encoding="gzip", Content_Type="text/plain")
    reply = await GuardedHttp(frozenset({web.place}), max_bytes=100_000).request("GET", web.url("/"))
    assert (len(reply.body), reply.truncated) == (100_000, True)


async def test_a_server_that_does_not_answer_costs_no_more_than_the_time_given(web: Web) -> None:
    web.silent.add("/")
    with pytest.raises(ToolFailure, match=r"within 0\.2 seconds"):
        await GuardedHttp(frozenset({web.place}), timeout_seconds=0.2).request("GET", web.url("/"))


async def test_what_is_not_http_is_a_failure(web: Web) -> None:
    web.answers["/"] = b"SSH-2.0-OpenSSH_9.6\r\n\r\n"
    with pytest.raises(ToolFailure, match="HTTP"):
        await GuardedHttp(frozenset({web.place})).request("GET", web.url("/"))


async def test_a_port_where_nobody_listens_is_a_failure() -> None:
    async with serving() as gone:
        place, url = gone.place, gone.url("/")
    with pytest.raises(ToolFailure, match="cannot be reached"):
        await GuardedHttp(frozenset({place})).request("GET", url)


async def test_tls_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, client = certificate_for("wiki.test", tmp_path)
    async with serving(server) as web:
        web.answer("/", b"inside")
        allowed = frozenset({f"wiki.test:{web.port}", f"other.test:{web.port}"})
        http = GuardedHttp(allowed, resolve=Names(["127.0.0.1"]), tls=client)
        assert (await http.request("GET", f"https://wiki.test:{web.port}/")).body == "inside"
        with pytest.raises(ToolFailure, match="cannot be reached"):
            await http.request("GET", f"https://other.test:{web.port}/")


def test_the_public_address_of_these_tests_is_one() -> None:
    assert ipaddress.ip_address(PUBLIC).is_global
