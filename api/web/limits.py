"""Limits of the HTTP server: how long a client may take, and how much memory it may occupy."""

from dataclasses import dataclass

from taskforce.infrastructure.config.settings import Settings

_SPARE_DESCRIPTORS = 128


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds what one client, and all clients together, may ask of the server.

    Attributes:
        header_seconds: Seconds from the connection, or from the first byte of a further request, to the end of its
            header.
        body_seconds: Seconds from the moment when the caller is authenticated to the end of the body.
        idle_seconds: Seconds between a response and the next request.
        stall_seconds: Seconds within which a client must read what waits to be sent to it, but for a small rest.
        header_bytes: Bytes of a request line with its headers; also of the framing around the chunks of a chunked body.
        headers: Number of header fields of one request.
        pipelined: Number of requests that wait behind the one that is being answered, on one connection.
        connections: Number of connections that are open at a time.
        pending_bytes: Bytes held, in sum, for callers whose credential is not accepted (yet): what came from them, and
            what waits to be sent to them.
    """

    header_seconds: float = 10
    body_seconds: float = 30
    idle_seconds: int = 75
    stall_seconds: float = 30
    header_bytes: int = 32_768
    headers: int = 100
    pipelined: int = 16
    connections: int = 2_000
    pending_bytes: int = 33_554_432


DEFAULTS = HttpLimits()


def http_limits(settings: Settings) -> HttpLimits:
    """Returns the limits that the environment sets.

    Args:
        settings: The process's settings.
    """
    return HttpLimits(
        header_seconds=settings.http_header_seconds,
        body_seconds=settings.http_body_seconds,
        idle_seconds=settings.http_idle_seconds,
        stall_seconds=settings.http_stall_seconds,
        header_bytes=settings.http_header_bytes,
        headers=settings.http_headers,
        connections=_within_descriptors(settings.http_connections),
        pending_bytes=settings.http_pending_bytes,
    )


def _within_descriptors(connections: int) -> int:
    """Raises the soft limit of open files where it may: without a free descriptor nobody can even be refused."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - _SPARE_DESCRIPTORS)
    return connections
