"""HTTP/1.1 as bytes: answers to what never becomes a request, and the framing that is accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from api.web import problems

RawHeaders = Sequence[tuple[bytes, bytes]]

_VERSIONS = frozenset({"1.0", "1.1"})


@dataclass(frozen=True, slots=True)
class WireProblem:
    """Describes an error of the connection itself, after which it is closed.

    Attributes:
        status: The HTTP status.
        code: The stable error code, on which callers branch.
        detail: The message, for a person.
    """

    status: int
    code: str
    detail: str

    def encoded(self, request_id: str) -> bytes:
        """Returns the whole response: a problem document with its header."""
        answer = problems.problem(self.status, self.code, self.detail, request_id=request_id)
        headers = [
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        status = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        return b"".join([status, *(b"%b: %b\r\n" % header for header in headers), b"\r\n", bytes(answer.body)])


MALFORMED = WireProblem(400, "request_malformed", "This is not HTTP/1.1 as RFC 9112 has it.")
TIMEOUT = WireProblem(408, "request_timeout", "The request did not come in time.")
TARGET_TOO_LONG = WireProblem(414, "target_too_long", "The request's target is too long.")
HEADERS_TOO_LARGE = WireProblem(431, "headers_too_large", "The request has too many headers, or too long ones.")
NO_ROOM = WireProblem(503, "connections_exhausted", "There are too many connections; try again in a moment.")
_CODING = WireProblem(501, "transfer_coding_unsupported", "The only Transfer-Encoding is chunked.")
_VERSION = WireProblem(505, "http_version_unsupported", "Send HTTP/1.1.")


def framing_problem(version: str, headers: RawHeaders) -> WireProblem | None:
    """Finds what makes the end or the host of a request ambiguous (RFC 9112, sections 3.2, 6.1 and 6.3).

    A proxy in front may read an ambiguous request as another one than this server does (request smuggling). So it is
    refused, also where the RFC would let a server repair it.

    Args:
        version: The version of the protocol, such as `1.1`.
        headers: Header fields, names in lower case.
    """
    if version not in _VERSIONS:
        return _VERSION
    lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
    hosts = _values(headers, b"host")
    # A proxy may have believed the other of the two, and seen another request (smuggling: RFC 9112, section 11.2).
    if len(lengths) + len(codings) > 1 or (codings and version == "1.0"):
        return MALFORMED
    # A proxy may have routed by the other one (RFC 9112, section 3.2).
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return MALFORMED
    return _CODING if codings and codings[0].strip().lower() != b"chunked" else None


def announces_body(headers: RawHeaders) -> bool:
    """Returns whether a body follows these headers, which `framing_problem` has passed."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in headers)


def _values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]
