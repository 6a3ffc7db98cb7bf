"""Limits of the HTTP server: how long a client may take, and how much it may make the process hold."""

from dataclasses import dataclass

from taskforce.infrastructure.config.settings import Settings

_SPARE_DESCRIPTORS = 128


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client, and all of them together, may ask of the server.

    Attributes:
        header_seconds: From the connection, or from the first byte of a further request, to the end of its header.
        body_seconds: From the end of the header to the end of the body.
        idle_seconds: Between an answer and the next request.
        stall_seconds: For which a client may take nothing of what waits to be sent to it.
        header_bytes: Of a request line with its headers; also of what stands around the parts of a chunked body.
        headers: Fields of one header.
        pipelined: Requests that wait behind the one that is being answered, on one connection.
        connections: That are open at a time.
        pending_bytes: Held, in sum, for callers whose credential is not accepted yet.
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
        settings: What the environment says.
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
    """Raises the process's limit of open files where it may; a connection beyond it could not even be refused."""
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
