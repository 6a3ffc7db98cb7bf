"""Public keys of an issuer (a JWK Set, RFC 7517): fetched, cached and refreshed.

Whoever sends a token chooses its `kid`, so a fetch costs a caller nothing and must cost the issuer little: one is under
way at a time, all who wait share it, and an unknown name, or a signature that no key fits, leads to one at most every
half minute. What the issuer sends is bounded and read strictly; a key that is not plainly a public key for
signatures is left out, and the log says which and why. While an issuer does not answer, or publishes no key that could
be used, the keys that it had go on counting, for a day.
"""

import asyncio
import contextvars
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

import httpx
import structlog

from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.infrastructure.auth.jwk_sets import ASYMMETRIC_ALGORITHMS, LeftOut, keys_in
from taskforce.infrastructure.auth.jwt_keys import KeyRecord

LARGEST_SET: Final = 1_000_000
SHORTEST_MAX_AGE: Final = 60.0
LONGEST_MAX_AGE: Final = 86_400.0
LONGEST_STALENESS: Final = 7 * 86_400.0

_OK: Final = 200
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|,)\s*(?:no-store|no-cache)\b", re.IGNORECASE)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JwksTiming:
    """Sets when keys are fetched, in seconds.

    Attributes:
        max_age: The time for which a set is current when the issuer does not say (`Cache-Control: max-age`). What it
            says
            counts between a minute and a day.
        max_stale: The further time for which keys are used while the issuer does not answer; at most a week.
        cooldown: The least time between two fetches because of a `kid` that is not known or a signature that fits none.
        retry: The least time between two fetches while the issuer does not answer.
        timeout: The time limit of one fetch.

    Raises:
        Invalid: `jwks_timing_invalid`.
    """

    max_age: float = 600.0
    max_stale: float = 86_400.0
    cooldown: float = 30.0
    retry: float = 5.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if not SHORTEST_MAX_AGE <= self.max_age <= LONGEST_MAX_AGE:
            raise Invalid("jwks_timing_invalid", "Keys of an issuer are current for a minute to a day.")
        if not 0 <= self.max_stale <= LONGEST_STALENESS:
            raise Invalid("jwks_timing_invalid", "Keys of an issuer that does not answer count for a week at most.")
        if not (self.cooldown > 0 and self.retry > 0 and self.timeout > 0):
            raise Invalid("jwks_timing_invalid", "The pauses and the timeout of fetching keys are more than 0 seconds.")


@dataclass(frozen=True, slots=True)
class _Held:
    records: tuple[KeyRecord, ...]
    names: frozenset[str]
    fetched_at: datetime
    lifetime: timedelta


class Jwks:
    """Provides the public keys of one issuer.

    Args:
        uri: The URL of the set; https, or in development http on this machine.
        algorithms: What is accepted, the preferred first: a key that names no algorithm is used with the first that
            fits it. When empty, that is RS256 or the one of its curve.
        development: Whether http on this machine is taken.
        clock: Returns the time, UTC.
        timing: The intervals of fetching.

    Raises:
        Invalid: `jwks_uri_invalid`, or `algorithms_invalid` for an algorithm without public keys.
    """

    def __init__(
        self,
        uri: str,
        algorithms: Sequence[str] = (),
        *,
        development: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timing: JwksTiming | None = None,
    ) -> None:
        if not ASYMMETRIC_ALGORITHMS.issuperset(algorithms):
            named = ", ".join(sorted(ASYMMETRIC_ALGORITHMS))
            raise Invalid("algorithms_invalid", f"With jwks_uri, algorithms are of {named}.")
        self._uri = checked_uri(uri, development=development)
        self._algorithms = tuple(algorithms)
        self._clock = clock
        self._timing = timing or JwksTiming()
        self._held: _Held | None = None
        self._tried_at: datetime | None = None
        self._failing = False
        self._left_out: tuple[LeftOut, ...] = ()
        self._fetching: asyncio.Task[None] | None = None

    async def records(self, kid: str | None) -> tuple[KeyRecord, ...]:
        """Returns the keys in force. The tuple is the same object as before unless another set was fetched.

        Args:
            kid: The key's name in the token at hand, if it has one. A name that is not known is a reason to fetch.

        Raises:
            Unavailable: `issuer_unavailable`: there are no keys, or none that are young enough.
        """
        current, known = self._is_current(), self._knows(kid)
        if not (current and known):
            fetch = self._fetch_under_way()
            # During an outage the cached keys are used at once, without waiting for the issuer.
            if fetch is not None and not (self._failing and known):
                # Shielded: a caller who gives up must not end the fetch that others wait for.
                await asyncio.shield(fetch)
        return self._countable()

    async def others(self, than: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...] | None:
        """Returns the issuer's refreshed keys, when none of the given keys has signed a token.

        Args:
            than: The keys at hand.

        Returns:
            The keys after a fetch, unless the last was just now; None when they are the same.

        Raises:
            Unavailable: As `records`.
        """
        fetch = self._fetch_under_way()
        if fetch is not None:
            await asyncio.shield(fetch)
        records = self._countable()
        return None if records is than else records

    def _is_current(self) -> bool:
        held = self._held
        return held is not None and self._passed_since(held.fetched_at) < held.lifetime.total_seconds()

    def _knows(self, kid: str | None) -> bool:
        """Returns whether a fetch could bring nothing new for this `kid`: the guard ignores it when no key has one."""
        held = self._held
        if held is None or not held.records:
            return False
        return kid is None or not held.names or kid in held.names

    def _passed_since(self, then: datetime) -> float:
        """Returns the seconds since a time; infinite when the clock was set back, so that no key outlives its time."""
        seconds = (self._clock() - then).total_seconds()
        return seconds if seconds >= 0 else float("inf")

    def _fetch_under_way(self) -> "asyncio.Task[None] | None":
        """Joins the fetch in progress, or starts one unless the last one was within the cooldown."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        # The caller chooses the `kid`, so unknown names must not make the gateway fetch without a pause.
        pause = self._timing.retry if self._failing else self._timing.cooldown
        if self._tried_at is not None and self._passed_since(self._tried_at) < pause:
            return None
        self._tried_at = self._clock()
        # In an empty context: the fetch serves every waiting request, and its log lines belong to none of them.
        self._fetching = asyncio.get_running_loop().create_task(self._fetch(), context=contextvars.Context())
        return self._fetching

    def _countable(self) -> tuple[KeyRecord, ...]:
        held = self._held
        if (
            held is None
            or self._passed_since(held.fetched_at) >= held.lifetime.total_seconds() + self._timing.max_stale
        ):
            raise Unavailable(
                "issuer_unavailable",
                "The issuer of this token does not give us its keys at the moment. Try again soon.",
                retry_after=self._timing.retry,
            )
        return held.records

    async def _fetch(self) -> None:
        try:
            body, caching = await self._download()
            published = keys_in(body, self._algorithms)
        except Exception as failure:  # noqa: BLE001 - whatever an issuer answers, it is no error of this server
            if not self._failing:
                _log.warning("auth.issuer.unavailable", host=self._host, error=type(failure).__name__)
            self._failing = True
            return
        self._say_left_out(published.left_out)
        self._keep(published.records, timedelta(seconds=lifetime_of(caching, self._timing.max_age)))

    def _say_left_out(self, left_out: tuple[LeftOut, ...]) -> None:
        """Logs the keys that are left out when they change, not with each fetch."""
        if left_out != self._left_out:
            for one in left_out:
                _log.warning("auth.issuer.key_left_out", host=self._host, **asdict(one))
        self._left_out = left_out

    def _keep(self, records: tuple[KeyRecord, ...], lifetime: timedelta) -> None:
        before = self._held
        if not records and before is not None and before.records:
            # An empty set, for a moment during a rotation or for good, is treated as an outage that `max_stale` bounds.
            if not self._failing:
                _log.warning("auth.issuer.no_usable_keys", host=self._host, meanwhile="the keys before")
            self._failing = True
            return
        if self._failing:
            _log.info("auth.issuer.available", host=self._host)
        if not records:
            _log.warning("auth.issuer.no_usable_keys", host=self._host)
        self._failing = False
        names = frozenset(record.kid for record in records if record.kid is not None)
        # The same tuple as before where nothing changed: by its identity callers keep the parsed keys.
        kept = before.records if before is not None and before.records == records else records
        self._held = _Held(kept, names, self._clock(), lifetime)

    @property
    def _host(self) -> str:
        return httpx.URL(self._uri).host

    async def _download(self) -> tuple[bytes, str]:
        headers = {"accept": "application/json, application/jwk-set+json", "accept-encoding": "identity"}
        # A proxy of the environment cannot reach this machine's loopback addresses.
        trust = self._uri.startswith("https:")
        # A timeout for the whole: httpx's own begins anew with each piece, so that a slow sender could hold it open.
        # No redirects, for only the configured address was checked.
        async with (
            asyncio.timeout(self._timing.timeout),
            httpx.AsyncClient(follow_redirects=False, trust_env=trust, timeout=self._timing.timeout) as client,
            client.stream("GET", self._uri, headers=headers) as response,
        ):
            if response.status_code != _OK or response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("not the document that was asked for")
            # Undecoded, so that the bound counts bytes received: a small packed body could unpack to any size.
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_SET:
                    raise ValueError("too large")
            return bytes(body), response.headers.get("cache-control", "")


def checked_uri(uri: str, *, development: bool) -> str:
    """Requires a URL that keys may be fetched from, and returns it.

    Args:
        uri: The address.
        development: Whether http on this machine is taken; it may be read and changed on the way, so nothing else is.

    Raises:
        Invalid: `jwks_uri_invalid`.
    """
    try:
        url = httpx.URL(uri)
        plain = uri.isascii() and uri.isprintable() and not re.search(r"[\s{}<>\\]", uri)
        sound = plain and bool(url.host) and not url.userinfo and not url.fragment
    except (httpx.InvalidURL, TypeError, ValueError):
        raise _refused_uri() from None
    if sound and (url.scheme == "https" or (url.scheme == "http" and development and _is_here(url.host))):
        return uri
    raise _refused_uri()


def _refused_uri() -> Invalid:
    return Invalid(
        "jwks_uri_invalid",
        "A jwks_uri is an https URL without user or fragment; http is taken in development, on this machine only.",
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lifetime_of(cache_control: str, usual: float) -> float:
    """Returns the seconds for which a set is current.

    Args:
        cache_control: The header, possibly empty.
        usual: Seconds, when the header says nothing.

    Returns:
        `usual`, or what the header says, but a minute at least and a day at most.
    """
    if _NOT_KEPT.search(cache_control):
        return SHORTEST_MAX_AGE
    said = _MAX_AGE.search(cache_control)
    return usual if said is None else min(max(float(said.group(1)), SHORTEST_MAX_AGE), LONGEST_MAX_AGE)
