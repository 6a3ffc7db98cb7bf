"""Keys that an issuer publishes: fetched seldom, kept through an outage, gone when the issuer takes them away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from taskforce.core.domain.errors import Unauthenticated, Unavailable
from taskforce.infrastructure.auth.jwks import (
    LARGEST_SET,
    JwksTiming,
    lifetime_of,
)
from taskforce.infrastructure.auth.jwt_provider import JWTIdentityProvider
from tests.taskforce.infrastructure.auth.forged_tokens import ISSUER, forge
from tests.taskforce.infrastructure.auth.jwks_server import (
    OTHER_KEY,
    PATH,
    MovingClock,
    provider_for,
    publish,
    published,
    signed,
)
from tests.taskforce.infrastructure.net.hosts import certificate_for
from tests.taskforce.infrastructure.net.http_server import Web, serving


async def refused(provider: JWTIdentityProvider, token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await provider.authenticate(token)
    return refusal.value.code


async def believed(provider: JWTIdentityProvider, token: str) -> bool:
    return (await provider.authenticate(token)).user_id == "alice"


async def unavailable(work: Awaitable[object]) -> Unavailable:
    with pytest.raises(Unavailable) as refusal:
        await work
    assert refusal.value.code == "issuer_unavailable"
    return refusal.value


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what changes is the server's view, which tells nobody
            await asyncio.sleep(0.001)


@asynccontextmanager
async def keeping(web: Web) -> AsyncIterator[asyncio.Event]:
    """Holds every answer back until the event is set."""
    let_go, answer = asyncio.Event(), web.serve

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        await answer(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield let_go
    finally:
        server.close()


# Fetched seldom


async def test_a_token_is_believed_by_a_published_key_that_is_fetched_once(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1"), published("k2", OTHER_KEY)), clock)

    assert (await provider.authenticate(signed("k1"))).user_id == "alice"
    assert (await provider.authenticate(signed("k2", OTHER_KEY))).issuer == ISSUER
    assert await refused(provider, signed("k1", OTHER_KEY)) == "token_invalid"
    assert len(web.asked) == 1
    assert "authorization" not in web.asked[0].headers


async def test_nothing_is_fetched_for_what_could_not_be_believed_anyway(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)

    for token in ("", "a.b.c", signed("k1", iss="https://evil.example"), forge({"alg": "RS256", "jku": web.url(PATH)})):
        await refused(provider, token)
    assert web.asked == []


async def test_many_who_wait_share_one_fetch(web: Web, clock: MovingClock) -> None:
    async with keeping(web) as let_go:
        provider = provider_for(publish(web, published("k1")), clock)
        waiting = [asyncio.create_task(provider.authenticate(signed("k1"))) for _ in range(50)]
        gone = asyncio.create_task(provider.authenticate(signed("k1")))
        await asyncio.sleep(0)
        gone.cancel()  # Whoever leaves does not take the keys along.
        let_go.set()

        assert {one.user_id for one in await asyncio.gather(*waiting)} == {"alice"}
    assert len(web.asked) == 1


async def test_made_up_names_of_keys_cannot_make_us_hammer_the_issuer(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))

    for at in range(100):
        assert await refused(provider, signed(f"made-up-{at}")) == "token_invalid"
        clock.pass_by(seconds=0.9)
    assert len(web.asked) == 1 + 2  # 90 seconds, of which the first 30 belong to the first fetch


async def test_a_new_key_is_believed_after_one_more_fetch_and_the_old_one_no_longer(
    web: Web, clock: MovingClock
) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    publish(web, published("k2", OTHER_KEY))
    clock.pass_by(seconds=31)

    assert await believed(provider, signed("k1"))  # Nothing has told us yet.
    assert await believed(provider, signed("k2", OTHER_KEY))
    assert await refused(provider, signed("k1")) == "token_invalid"
    assert len(web.asked) == 2


async def test_a_key_taken_away_is_refused_when_the_set_has_aged(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1"), published("k2", OTHER_KEY)), clock)
    await provider.authenticate(signed("k1"))
    publish(web, published("k2", OTHER_KEY))

    clock.pass_by(seconds=599)
    assert await believed(provider, signed("k1"))
    clock.pass_by(seconds=1)
    assert await refused(provider, signed("k1")) == "token_invalid"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 600),
        ("public, max-age=7200", 7200),
        ("MAX-AGE = 120", 120),
        ('max-age="90"', 90),
        ("max-age=1", 60),
        ("max-age=999999999999", 86_400),
        ("no-store", 60),
        ("no-cache, max-age=7200", 60),
        ("max-age=-5", 600),
        ("max-age=soon", 600),
        ("s-maxage=7200", 600),
        ("x-max-age=7200", 600),
    ],
)
def test_the_issuer_says_for_how_long_within_reason(header: str, seconds: float) -> None:
    assert lifetime_of(header, 600) == seconds


@given(st.text())
def test_whatever_the_header_says_a_set_is_current_for_a_minute_to_a_day(header: str) -> None:
    assert 60 <= lifetime_of(header, 600) <= 86_400


async def test_what_the_issuer_says_counts(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1"), Cache_Control="max-age=3600"), clock)
    await provider.authenticate(signed("k1"))
    clock.pass_by(seconds=3599)
    await provider.authenticate(signed("k1"))
    assert len(web.asked) == 1

    clock.pass_by(seconds=1)
    await provider.authenticate(signed("k1"))
    assert len(web.asked) == 2


async def test_a_clock_that_is_set_back_keeps_nothing_longer(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    clock.pass_by(days=5)
    await provider.authenticate(signed("k1"))
    clock.pass_by(days=-5)
    await provider.authenticate(signed("k1"))

    assert len(web.asked) == 2


# An issuer that does not answer


async def test_without_keys_nobody_can_say_and_nobody_hammers(web: Web, clock: MovingClock) -> None:
    provider = provider_for(web.url(PATH), clock)

    first = await unavailable(provider.authenticate(signed("k1")))
    again = await unavailable(provider.validate_token(signed("k1")))
    assert (first.retry_after, again.retry_after) == (5, 5)
    assert len(web.asked) == 1

    publish(web, published("k1"))
    clock.pass_by(seconds=5)
    assert await believed(provider, signed("k1"))


async def test_old_keys_count_through_an_outage_of_a_day_and_no_longer(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    web.answers.clear()

    clock.pass_by(minutes=10)
    assert await believed(provider, signed("k1"))
    assert await refused(provider, signed("unknown")) == "token_invalid"
    clock.pass_by(hours=23, minutes=59)
    assert await believed(provider, signed("k1"))
    clock.pass_by(minutes=1)
    await unavailable(provider.authenticate(signed("k1")))


async def test_in_an_outage_nobody_waits_for_the_issuer(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock, jwks_timing=JwksTiming(timeout=3_600))
    await provider.authenticate(signed("k1"))
    web.answers.clear()
    clock.pass_by(minutes=10)
    await provider.authenticate(signed("k1"))
    web.silent.add(PATH)
    clock.pass_by(seconds=5)

    async with asyncio.timeout(60):  # The fetch itself would take an hour.
        assert await believed(provider, signed("k1"))
    await until(lambda: _asked(web, 3))


async def _asked(web: Web, times: int) -> bool:
    return len(web.asked) == times


async def test_an_outage_is_logged_once_and_its_end_too_and_no_token_ever(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    web.answers.clear()
    with capture_logs() as logs:
        for _ in range(5):
            clock.pass_by(minutes=10)
            await refused(provider, signed("not-known-so-it-waits-for-the-fetch"))
        assert len(web.asked) == 1 + 5
        publish(web, published("k2", OTHER_KEY))
        clock.pass_by(minutes=10)
        await provider.authenticate(signed("k2", OTHER_KEY))

    # Gateways of other tests in this process log, too.
    assert [(one["event"], one["log_level"]) for one in logs if one["event"].startswith("auth.issuer")] == [
        ("auth.issuer.unavailable", "warning"),
        ("auth.issuer.available", "info"),
    ]
    assert "eyJ" not in json.dumps(logs)


async def test_after_an_outage_a_key_taken_away_is_refused(web: Web, clock: MovingClock) -> None:
    provider = provider_for(publish(web, published("k1")), clock)
    await provider.authenticate(signed("k1"))
    web.answers.clear()
    clock.pass_by(minutes=10)
    await provider.authenticate(signed("k1"))
    publish(web, published("k2", OTHER_KEY))
    clock.pass_by(seconds=5)

    async def is_refused() -> bool:
        return await provider.validate_token(signed("k1")) is None

    await until(is_refused)


def _redirects(web: Web) -> None:
    publish(web, published("k1"))
    web.answers["/elsewhere"] = web.answers[PATH]
    web.redirect(PATH, "/elsewhere")


def _answers(body: bytes, status: int = 200, **headers: str) -> Callable[[Web], None]:
    return lambda web: web.answer(PATH, body, status, **headers)


GOOD = json.dumps({"keys": [published("k1")]}).encode()


@pytest.mark.parametrize(
    "misbehave",
    [
        _redirects,
        _answers(GOOD, 500),
        _answers(GOOD, 203),
        _answers(GOOD, Content_Encoding="gzip"),
        _answers(GOOD + b" " * LARGEST_SET),
        _answers(b""),
        _answers(b"\xff"),
        _answers(b"[]"),
        _answers(b"{}"),
        _answers(b'{"keys": {}}'),
        _answers(b'{"keys": ["k1"]}'),
        _answers(GOOD[:-1] + b', "keys": []}'),
        _answers(json.dumps({"keys": [published("k1")] * 101}).encode()),
        _answers(b"[" * 100_000),
        lambda web: web.answers.update({PATH: b"SSH-2.0-OpenSSH_9.6\r\n\r\n"}),
        lambda web: web.answers.update({PATH: b"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n{"}),
        lambda web: web.silent.add(PATH),
    ],
)
async def test_an_answer_that_is_no_set_of_keys_is_an_outage(
    misbehave: Callable[[Web], None], web: Web, clock: MovingClock
) -> None:
    misbehave(web)
    provider = provider_for(web.url(PATH), clock, jwks_timing=JwksTiming(timeout=2))

    await unavailable(provider.authenticate(signed("k1")))
    await until(lambda: _asked(web, 1))


async def test_an_answer_that_never_ends_is_an_outage(clock: MovingClock) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 900000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    async with asyncio.timeout(60), server:
        await unavailable(provider_for(uri, clock, jwks_timing=JwksTiming(timeout=0.3)).authenticate(signed("k1")))


async def test_a_set_as_large_as_is_allowed_is_read(web: Web, clock: MovingClock) -> None:
    web.answer(PATH, GOOD + b" " * (LARGEST_SET - len(GOOD)))

    assert await believed(provider_for(web.url(PATH), clock), signed("k1"))


async def test_nobody_there_is_an_outage(clock: MovingClock) -> None:
    async with serving() as gone:
        uri = gone.url(PATH)

    await unavailable(provider_for(uri, clock).authenticate(signed("k1")))


async def test_tls_is_checked(tmp_path: Path, clock: MovingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = certificate_for("localhost", tmp_path)
    async with serving(server) as web:
        publish(web, published("k1"))
        uri = f"https://localhost:{web.port}{PATH}"
        await unavailable(provider_for(uri, clock).authenticate(signed("k1")))

        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
        assert await believed(provider_for(uri, clock), signed("k1"))
