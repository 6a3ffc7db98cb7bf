"""Reader of response bodies, bounded in received bytes, in unpacked bytes, and in the cost of decoding."""

import codecs
import zlib
from collections.abc import AsyncIterable, Callable

from taskforce.core.interfaces.tools import ToolFailure

# An empty member takes some 20 bytes and unpacks to nothing: without a bound a small body costs much time.
MAX_MEMBERS = 100

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_NOT_UNPACKED = "The server sent a body that cannot be unpacked."
_TEXT_CODECS = ("utf-8", "utf-16", "utf-32", "ascii", "iso8859", "cp125", "gb", "big5", "shift_jis", "euc_", "koi8")


async def read_body(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> tuple[bytes, bool]:
    """Reads and decompresses a body.

    Args:
        chunks: The body as it arrives.
        encoding: The `Content-Encoding` header, possibly empty.
        limit: Bytes, both of what is read and of what it unpacks to.

    Returns:
        At most `limit` bytes, and whether there were more.

    Raises:
        ToolFailure: The encoding is not one that was asked for, or the data are not in it.
    """
    unpack = _unpacker(encoding)
    body, arrived = bytearray(), 0
    async for chunk in chunks:
        arrived += len(chunk)
        # One byte beyond what fits tells a body that is exactly full from one that goes on.
        body += unpack(chunk, limit + 1 - len(body))
        # Both: a gzip body may unpack to little and still never end.
        if len(body) > limit or arrived > limit:
            return bytes(body[:limit]), True
    return bytes(body), False


def decoded(body: bytes, charset: str | None) -> str:
    """Decodes the body to text that PostgreSQL can store; bytes that are not in the charset are replaced.

    Args:
        body: The bytes.
        charset: As the server names it; one that is unknown, or costly to decode, is read as UTF-8.
    """
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = "utf-8"
    # Other codecs are no charsets, or take more than linear time (`idna`, `punycode`).
    text = body.decode(name if name.startswith(_TEXT_CODECS) else "utf-8", errors="replace")
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk, room: chunk[:room]
        case "gzip" | "x-gzip":
            return _Gunzip().add
        case _:
            raise ToolFailure("The server sent the body in an encoding that was not asked for.")


class _Gunzip:
    """Decompresses piece by piece, never more than the remaining limit."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._members = 1

    def add(self, chunk: bytes, room: int) -> bytes:
        unpacked = self._piece(chunk, room)
        # A gzip body may be several members in sequence (RFC 1952, section 2.2).
        while self._stream.eof and len(unpacked) < room and self._stream.unused_data.startswith(_GZIP_MAGIC):
            chunk = self._stream.unused_data
            self._next_member()
            unpacked += self._piece(chunk, room - len(unpacked))
        return unpacked

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise ToolFailure(_NOT_UNPACKED)
        self._stream = zlib.decompressobj(_GZIP)

    def _piece(self, chunk: bytes, room: int) -> bytes:
        try:
            return self._stream.decompress(chunk, room)
        except zlib.error as error:
            raise ToolFailure(_NOT_UNPACKED) from error
