"""`taskforce audit`: exports the audit log, and checks an export without the server that wrote it."""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import UnsupportedOperation
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from cli.exits import Exit, Trouble
from cli.groups import command_group
from cli.options import AsJson, Token, Url

if TYPE_CHECKING:
    from taskforce.core.domain.audit.chain import Anchor, Verified

_STDIN: Final = "-"
_GENESIS: Final = "genesis"
_LARGE: Final = 5_000_000
_STRIDE: Final = 500_000
_LONGEST_ANCHOR: Final = 1_000
_ANCHOR_HEADER: Final = "Audit-Anchor"
_PRIVATE: Final = 0o600

app = command_group("audit", "Exports the audit log, and checks exports.")


class Broken(Trouble):
    """Raised when an export is not what the gateway exported.

    Args:
        message: For a person; names the line.
        line: The first line where it breaks, from 1.
        reason: A stable word for how.
    """

    def __init__(self, message: str, line: object, reason: object) -> None:
        # A script has to tell a broken log from a mistyped command, so this is not wrong usage.
        super().__init__(Exit.FAILED, "audit_broken", message)
        self._where = {"line": line, "reason": reason}

    def document(self) -> dict[str, object]:
        """Returns the JSON object that `--json` prints instead of a result."""
        error = super().document()["error"]
        return {"error": {**(error if isinstance(error, dict) else {}), **self._where}}


@app.command()
def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The export, JSON Lines; - reads it from stdin.")],
    *,
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor",
            help="Where it must end, tenant:seq:hash, from a source that whoever wrote the file could not change; "
            "by default read from FILE.anchor.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Where it must begin: the anchor of an earlier export, or the word genesis.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Finds whatever was changed, deleted, inserted, reordered or cut in an export; needs no server.

    Exit code 0 says that it is whole, 3 that it is broken, 7 that there is no such file.
    """
    # The program imports this module, so what it wraps its commands in can only be had when a command runs.
    from cli.reporting import reported

    reported(_verify)(file=file, anchor=anchor, start=start, as_json=as_json)


@app.command()
def export(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; there must be no such file yet.")
    ],
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            help="Only what comes after this anchor of an earlier export, or after the event of this number; "
            "by default all that is kept.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Writes the audit log to FILE as JSON Lines, and where it must end to FILE.anchor.

    Keep a copy of the anchor where whoever can change the file cannot: with it `taskforce audit verify` finds any
    change. What broke off on its way is not kept; begin anew.
    """
    from cli.reporting import reported

    reported(_export)(output=output, after=after, as_json=as_json, url=url, token=token)


def _export(*, output: Path, after: str | None, as_json: bool, url: str | None, token: str | None) -> None:
    from cli.gateway import open_gateway

    beside = Path(f"{output}.anchor")
    # An earlier export is evidence.
    for path in (output, beside):
        if path.exists():
            raise Trouble(Exit.USAGE, "file_exists", f"{path} is there already, and is not written over.")
    gateway = open_gateway(url, token)
    try:
        with gateway.download("/admin/audit/export", after=after) as (headers, pieces):
            anchor = _announced(headers)
            size = _write(output, pieces)
        # Last: an export that broke off has no anchor to be checked against.
        _write(beside, [f"{anchor}\n".encode()])
    except OSError as error:
        raise Trouble(Exit.ERROR, "file_unwritable", f"{output} cannot be written: {error.strerror}.") from None
    _tell_export(output, beside, anchor, size, as_json=as_json)


def _announced(headers: Mapping[str, str]) -> "Anchor":
    try:
        return _parsed(headers.get(_ANCHOR_HEADER, ""), _ANCHOR_HEADER)
    except Trouble:
        message = f"The answer does not say in {_ANCHOR_HEADER} where the export must end."
        raise Trouble(Exit.ERROR, "answer_not_understood", message, hint="Is the URL the gateway's?") from None


def _write(path: Path, pieces: Iterable[bytes]) -> int:
    """Writes a file that is there as a whole or not at all, for its owner's eyes only; returns its size."""
    partial = Path(f"{path}.partial")
    try:
        with (
            os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as stream,
            _shown(None) as show,
        ):
            for piece in pieces:
                stream.write(piece)
                show(stream.tell())
            stream.flush()
            # The log may be cut at the gateway because this copy is there.
            os.fsync(stream.fileno())
            size = stream.tell()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _tell_export(output: Path, beside: Path, anchor: "Anchor", size: int, *, as_json: bool) -> None:
    if as_json:
        from cli.terminal import write_json

        write_json({"file": str(output), "bytes": size, "anchor": str(anchor), "anchor_file": str(beside)})
        return
    from cli.terminal import console

    say = console()
    say.print(f"{output}: {size:,} bytes, up to event {anchor.seq}", soft_wrap=True)
    say.print(f"anchor {anchor}", soft_wrap=True)
    say.print(f"Keep the anchor elsewhere too; then: taskforce audit verify {output} --anchor ...", soft_wrap=True)


def _verify(*, file: str, anchor: str | None, start: str | None, as_json: bool) -> None:
    try:
        with _opened(file) as stream:
            end = _anchor_beside(file) if anchor is None else _parsed(anchor, "--anchor")
            verified = _checked(stream, end, None if start is None else _start(start, end))
    except OSError as error:
        raise _unreadable(file, error) from None
    if as_json:
        from cli.terminal import write_json

        write_json(_document(verified))
    else:
        _print(verified, beside=anchor is None, start_known=start is not None)


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    if file != _STDIN:
        return Path(file).open("rb")
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return nullcontext(sys.stdin.buffer)


def _checked(stream: BinaryIO, anchor: "Anchor", start: "Anchor | None") -> "Verified":
    from taskforce.core.domain.audit import chain
    from taskforce.core.domain.errors import Invalid

    try:
        with _lines(stream) as lines:
            return chain.verify(lines, anchor, start=start)
    except Invalid as error:
        raise Broken(error.message, error.details.get("line"), error.details.get("reason")) from None


@contextmanager
def _lines(stream: BinaryIO) -> Iterator[Iterator[str]]:
    """Reads the lines of a file; where somebody looks and it may take long, a bar on stderr shows how far."""
    size = _size(stream)
    if size is not None and size < _LARGE:
        yield _texts(stream, lambda _: None)
        return
    with _shown(size) as show:
        yield _texts(stream, show)


@contextmanager
def _shown(size: int | None) -> Iterator[Callable[[int], None]]:
    """Returns what shows on stderr how many bytes there are by now, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)
        yield lambda done: progress.update(task, completed=done)


def _texts(stream: BinaryIO, show: Callable[[int], None]) -> Iterator[str]:
    from taskforce.core.domain.audit.chain import MAX_LINE_BYTES

    done = shown = 0
    # One byte more than a line may have: a longer one is not read to its end, and seen to be too long.
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line.decode(errors="surrogateescape")
        done += len(line)
        if done - shown >= _STRIDE:
            show(shown := done)


def _size(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except UnsupportedOperation:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def _anchor_beside(file: str) -> "Anchor":
    hint = "Give the anchor that you noted when the file was exported: --anchor TENANT:SEQ:HASH."
    if file == _STDIN:
        raise Trouble(Exit.USAGE, "anchor_missing", "There is no anchor to check against.", hint=hint)
    path = Path(f"{file}.anchor")
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST_ANCHOR).decode(errors="replace")
    except OSError as error:
        message = f"There is no --anchor, and {path} cannot be read: {error.strerror}."
        raise Trouble(Exit.USAGE, "anchor_missing", message, hint=hint) from None
    return _parsed(text, str(path))


def _start(text: str, end: "Anchor") -> "Anchor":
    from taskforce.core.domain.audit.chain import Anchor

    return Anchor.genesis(end.tenant_id) if text == _GENESIS else _parsed(text, "--from")


def _parsed(text: str, where: str) -> "Anchor":
    from taskforce.core.domain.audit.chain import Anchor
    from taskforce.core.domain.errors import Invalid

    try:
        return Anchor.parse(text.strip())
    except Invalid as error:
        raise Trouble(Exit.USAGE, error.code, f"{where}: {error.message}") from None


def _unreadable(file: str, error: OSError) -> Trouble:
    if isinstance(error, FileNotFoundError):
        return Trouble(Exit.NOT_FOUND, "file_not_found", f"There is no file {file}.")
    if isinstance(error, IsADirectoryError):
        return Trouble(Exit.USAGE, "file_is_directory", f"{file} is a directory; name the file in it.")
    return Trouble(Exit.ERROR, "file_unreadable", f"{file} cannot be read: {error.strerror}.")


def _document(verified: "Verified") -> dict[str, object]:
    return {
        "ok": True,
        "tenant": verified.tenant_id,
        "events": verified.events,
        "first_seq": verified.first_seq,
        "last_seq": verified.last_seq,
        "first_at": verified.first_at.isoformat() if verified.first_at else None,
        "last_at": verified.last_at.isoformat() if verified.last_at else None,
        "from": str(verified.start),
        "to": str(verified.end),
    }


def _print(verified: "Verified", *, beside: bool, start_known: bool) -> None:
    from rich.text import Text

    from cli.terminal import console

    say = console()
    count = "1 event" if verified.events == 1 else f"{verified.events:,} events"
    say.print(Text.assemble(("✓ whole", "bold green"), f": {count} of tenant {verified.tenant_id}"), soft_wrap=True)
    if verified.events:
        say.print(f"  events {verified.first_seq} to {verified.last_seq}", soft_wrap=True)
    if verified.first_at and verified.last_at:
        say.print(f"  from {verified.first_at.isoformat()} to {verified.last_at.isoformat()}", soft_wrap=True)
    for note in _notes(verified, beside=beside, start_known=start_known):
        say.print(Text(f"  {note}", style="yellow"), soft_wrap=True)


def _notes(verified: "Verified", *, beside: bool, start_known: bool) -> Iterator[str]:
    """Lists what the check could not know."""
    if beside:
        yield "The anchor was read beside the file: whoever could write there could make both anew."
    if verified.start.seq and not start_known:
        yield f"Nothing is said of events 1 to {verified.start.seq}, which are not in the file; see --from."
