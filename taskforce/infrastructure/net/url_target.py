"""Target of a URL, and whether it may be called.

A URL is read once, by one parser, and the request is built from what was read: there is no second reading that could
come to another host.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.net.public_addresses import HIGHEST_PORT, is_public

MAX_URL = 8_000
PUBLIC_PORTS = frozenset({80, 443})

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a name for a port to literal addresses, in the order to be tried."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
# No backslash: some parsers read it as a slash, so that a URL could be checked for one host and mean another.
_URL = re.compile(r"(?i)(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#\\\x00-\x20\x7f]*)[^\\\x00-\x20\x7f]*")
_NO_HOST = re.compile(r"[\s/@?#\[\]\\]")
# A dot at least, for single words are names of the own network; and a last label that begins with a letter, for
# resolvers take `0x7f.1` and `127.1` as addresses.
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# Names of private networks (RFC 6761, RFC 6762, RFC 8375, and by custom).
_LOCAL_NAMES = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".home.arpa",
    ".lan",
    ".corp",
    ".home",
)


@dataclass(frozen=True, slots=True)
class Target:
    """Holds a URL that was parsed.

    Attributes:
        url: The URL as it is requested, without a fragment.
        host: In lower case, without a final dot; for IPv6 without brackets.
        port: The port, the scheme's own where none is given.
    """

    url: httpx.URL
    host: str
    port: int

    @property
    def place(self) -> str:
        """Returns `host:port`, as allowed places are written; IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Returns scheme, host and port."""
        return self.url.scheme, self.host, self.port


def read_target(url: str) -> Target:
    """Parses a URL.

    Raises:
        ToolFailure: It is not an absolute http or https URL of ordinary form.
    """
    shape = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if shape is None:
        raise ToolFailure(f"This is not a URL of at most {MAX_URL} characters without spaces and backslashes.")
    if shape["scheme"].lower() not in _DEFAULT_PORTS:
        raise ToolFailure("Only http and https URLs can be asked for.")
    # `http://good.example@10.0.0.5/` looks like the one host and leads to the other.
    if "@" in shape["authority"]:
        raise ToolFailure("A URL must not carry a user name or a password.")
    try:
        parsed = httpx.URL(url).copy_with(fragment=None)
    except httpx.InvalidURL as error:
        raise ToolFailure("This is not a valid URL.") from error
    # A final dot means the same name, and would not match the lists of allowed and of local names.
    host = parsed.raw_host.decode("ascii").lower().removesuffix(".")
    return Target(parsed, host, _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port)


def place(text: str) -> str:
    """Checks a place that an operator exempts.

    Args:
        text: `host:port`, for example `wiki.example.com:8443` or `[::1]:8000`.

    Returns:
        The same as `Target.place` writes it.

    Raises:
        ValueError: It has no host or no port, or is more than these.
    """
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    named = bool(bare) and not _NO_HOST.search(bare) and (":" in bare) == (bare != host)
    if not named or not port.isdecimal() or not 0 < int(port) <= HIGHEST_PORT:
        raise ValueError(f"An allowed host is written host:port, not {text!r}.")
    return f"{host.lower().removesuffix('.')}:{int(port)}"


def check_place(target: Target, allowed: frozenset[str]) -> None:
    """Requires a usual port, and a name or address that is not known to be internal.

    Args:
        target: The target of the requests.
        allowed: Places that are exempt, as `place` returns them.

    Raises:
        ToolFailure: The place must not be asked.
    """
    if target.place in allowed:
        return
    _check_before_lookup(target)
    literal = _literal(target.host)
    if literal is not None and not is_public(literal):
        raise _refused(target)


async def addresses_of(target: Target, allowed: frozenset[str], resolve: Resolver) -> tuple[str, ...]:
    """Resolves a target, once, and checks every address.

    Args:
        target: The target of the request.
        allowed: Places that are exempt, as `place` returns them.
        resolve: Looks names up.

    Returns:
        The addresses to connect to, in the order to be tried; never none.

    Raises:
        ToolFailure: The place must not be asked, or its name is not known.
    """
    exempt = target.place in allowed
    if not exempt:
        _check_before_lookup(target)
    literal = _literal(target.host)
    found = (literal,) if literal is not None else await _looked_up(target, resolve)
    # One non-public address refuses the target: an honest name does not mix them.
    if not exempt and not all(is_public(address) for address in found):
        raise _refused(target)
    return found


def _check_before_lookup(target: Target) -> None:
    if target.port not in PUBLIC_PORTS:
        raise ToolFailure(f"Port {target.port} is not open; only 80 and 443 are.")
    if _literal(target.host) is not None:
        return
    if not _NAME.fullmatch(target.host) or target.host.endswith(_LOCAL_NAMES):
        raise _refused(target)


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


async def _looked_up(target: Target, resolve: Resolver) -> tuple[str, ...]:
    try:
        found = tuple(dict.fromkeys(await resolve(target.host, target.port)))
    # `getaddrinfo` encodes names by IDNA, which raises UnicodeError for a label that is too long.
    except (OSError, UnicodeError) as error:
        raise _unknown(target) from error
    if not found:
        raise _unknown(target)
    return found


def _unknown(target: Target) -> ToolFailure:
    return ToolFailure(f"The name {target.host} is not known.")


def _refused(target: Target) -> ToolFailure:
    # Says neither to which address a name leads nor why that is refused: both would map the network behind.
    return ToolFailure(f"{target.host} is not a public internet address, so it may not be asked.")
