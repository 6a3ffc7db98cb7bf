"""`taskforce audit export` writes a file and an anchor; `verify` needs no more to say whether the log is whole."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.audit import app
from cli.exits import Exit
from taskforce.core.domain.audit.chain import MAX_LINE_BYTES, Anchor, export, seal
from tests.cli.conftest import REPOSITORY, Done

GENESIS = Anchor.genesis("acme")


@dataclass(frozen=True)
class Log:
    """An export in a file."""

    path: Path
    before: Anchor
    after: Anchor

    def lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines(keepends=True)


def written(path: Path, count: int = 3, before: Anchor = GENESIS) -> Log:
    events = [{"at": f"2026-03-01T10:00:{n:02}Z", "actor_id": "alice", "note": "Übergabe"} for n in range(count)]
    sealed, after = seal(before, events)
    path.write_text("".join(export(before, sealed, after)), "utf-8")
    return Log(path, before, after)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return written(tmp_path / "audit.jsonl")


def verify(*arguments: object, given: bytes | str | None = None) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], input=given)


def test_a_whole_file_is_summed_up(log: Log) -> None:
    done = verify(log.path, "--anchor", log.after)
    assert (done.exit_code, done.stderr) == (Exit.OK, "")
    assert "whole: 3 events of tenant acme" in done.stdout
    assert "events 1 to 3" in done.stdout
    assert "from 2026-03-01T10:00:00+00:00 to 2026-03-01T10:00:02+00:00" in done.stdout


def test_json_is_one_document(log: Log) -> None:
    done = verify(log.path, "--anchor", log.after, "--json")
    assert (done.exit_code, done.stderr) == (Exit.OK, "")
    assert json.loads(done.stdout) == {
        "ok": True,
        "tenant": "acme",
        "events": 3,
        "first_seq": 1,
        "last_seq": 3,
        "first_at": "2026-03-01T10:00:00+00:00",
        "last_at": "2026-03-01T10:00:02+00:00",
        "from": str(GENESIS),
        "to": str(log.after),
    }


def test_an_export_without_events_is_whole(tmp_path: Path) -> None:
    log = written(tmp_path / "empty.jsonl", count=0)
    done = verify(log.path, "--anchor", log.after)
    assert (done.exit_code, done.stdout) == (Exit.OK, "✓ whole: 0 events of tenant acme\n")


def test_it_reads_stdin(log: Log) -> None:
    done = verify("-", "--anchor", log.after, given=log.path.read_bytes())
    assert (done.exit_code, "3 events" in done.stdout) == (Exit.OK, True)


def test_the_program_needs_no_settings_and_no_server(log: Log, tmp_path: Path) -> None:
    program = "import sys; from cli.audit import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", str(log.path), "--anchor", str(log.after)],
        env={"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TASKFORCE_PROFILE": "enterprise", "DATABASE_URL": "-"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# What is broken


def test_a_broken_file_names_line_and_reason(log: Log) -> None:
    log.path.write_text(log.path.read_text("utf-8").replace("alice", "bob", 1), "utf-8")
    done = verify(log.path, "--anchor", log.after)
    assert (done.exit_code, done.stdout) == (Exit.FAILED, "")
    assert "Line 2: This event, or what stands before it, is not what was recorded. (audit_broken)" in done.stderr


def test_json_names_line_and_reason_too(log: Log) -> None:
    log.path.write_text("".join(log.lines()[:-2]), "utf-8")
    done = verify(log.path, "--anchor", log.after, "--json")
    assert done.exit_code == Exit.FAILED
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["line"], error["reason"]) == ("audit_broken", 4, "cut_short")
    assert error["exit_code"] == 3


def test_another_anchor_is_not_where_the_file_ends(log: Log, tmp_path: Path) -> None:
    longer = written(tmp_path / "longer.jsonl", count=4)
    done = verify(log.path, "--anchor", longer.after)
    assert (done.exit_code, "Line 5: Events 4 to 4 are missing" in done.stderr) == (Exit.FAILED, True)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "cut_short"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "not_utf8"),
        (b"\x00" * 10_000, 1, "not_json"),
        (b"\x1f\x8b\x08" + bytes(range(256)), 1, "not_utf8"),
        (b" " * (MAX_LINE_BYTES + 1), 1, "too_long"),
        (b"x" * (3 * MAX_LINE_BYTES), 1, "too_long"),
    ],
    ids=["empty", "png", "zeros", "gzip", "a byte too long", "huge"],
)
def test_a_file_that_is_no_export_is_broken(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    done = verify(path, "--anchor", GENESIS, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["line"], error["reason"]) == (Exit.FAILED, line, reason)


def test_a_line_that_is_no_text_is_named(log: Log) -> None:
    first, second, *rest = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join([first, second.replace(b"\xc3", b"\xff"), *rest]))
    done = verify(log.path, "--anchor", log.after)
    assert (done.exit_code, "Line 2: The line is not text in UTF-8." in done.stderr) == (Exit.FAILED, True)


# Where it begins


def test_a_file_may_begin_where_an_earlier_one_ended(log: Log, tmp_path: Path) -> None:
    later = written(tmp_path / "later.jsonl", before=log.after)
    done = verify(later.path, "--anchor", later.after, "--from", log.after)
    assert (done.exit_code, "Nothing is said" in done.stdout) == (Exit.OK, False)


def test_what_is_not_in_the_file_is_said(log: Log, tmp_path: Path) -> None:
    later = written(tmp_path / "later.jsonl", before=log.after)
    done = verify(later.path, "--anchor", later.after)
    assert done.exit_code == Exit.OK
    assert "Nothing is said of events 1 to 3" in done.stdout


def test_another_beginning_is_broken(log: Log, tmp_path: Path) -> None:
    later = written(tmp_path / "later.jsonl", before=log.after)
    for start in (str(Anchor("acme", 3, "a" * 64)), "genesis"):
        done = verify(later.path, "--anchor", later.after, "--from", start)
        assert (done.exit_code, "Line 1: " in done.stderr) == (Exit.FAILED, True)


def test_the_beginning_of_the_chain_can_be_demanded(log: Log) -> None:
    assert verify(log.path, "--anchor", log.after, "--from", "genesis").exit_code == Exit.OK


# Where the anchor comes from


def test_the_anchor_is_read_from_beside_the_file_with_a_word_of_caution(log: Log) -> None:
    Path(f"{log.path}.anchor").write_text(f"{log.after}\n")
    done = verify(log.path)
    assert done.exit_code == Exit.OK
    assert "whoever could write there could make both anew" in done.stdout


def test_an_anchor_that_is_given_goes_before_the_one_beside(log: Log) -> None:
    Path(f"{log.path}.anchor").write_text(str(GENESIS))
    assert verify(log.path, "--anchor", log.after).exit_code == Exit.OK
    assert verify(log.path).exit_code == Exit.FAILED


@pytest.mark.parametrize("file", ["log", "-"])
def test_without_an_anchor_nothing_is_checked(log: Log, file: str) -> None:
    done = verify(log.path if file == "log" else file, given=log.path.read_bytes())
    assert (done.exit_code, done.stdout) == (Exit.USAGE, "")
    assert "anchor_missing" in done.stderr
    assert "--anchor TENANT:SEQ:HASH" in done.stderr


@pytest.mark.parametrize("text", ["", "acme", f"acme:x:{'0' * 64}", "acme:1:abc", "x" * 5_000, "genesis"])
def test_an_anchor_that_is_none_is_wrong_usage(log: Log, text: str) -> None:
    done = verify(log.path, "--anchor", text)
    assert (done.exit_code, "--anchor: " in done.stderr, "anchor_invalid" in done.stderr) == (Exit.USAGE, True, True)
    Path(f"{log.path}.anchor").write_text(text)
    assert verify(log.path).exit_code == Exit.USAGE


@pytest.mark.parametrize("text", ["", "acme:1:abc"])
def test_a_beginning_that_is_none_is_wrong_usage_and_never_left_out(log: Log, text: str) -> None:
    done = verify(log.path, "--anchor", log.after, "--from", text)
    assert (done.exit_code, "--from: " in done.stderr) == (Exit.USAGE, True)


# Files that cannot be read


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for arguments in (["--anchor", GENESIS], []):
        done = verify(tmp_path / "nowhere.jsonl", *arguments)
        assert (done.exit_code, done.stdout, "file_not_found" in done.stderr) == (Exit.NOT_FOUND, "", True)


def test_a_directory_is_wrong_usage(tmp_path: Path) -> None:
    done = verify(tmp_path, "--anchor", GENESIS)
    assert (done.exit_code, "file_is_directory" in done.stderr) == (Exit.USAGE, True)


def test_a_name_that_no_file_can_have_is_an_error(tmp_path: Path) -> None:
    done = verify(tmp_path / ("x" * 1_000), "--anchor", GENESIS)
    assert (done.exit_code, "file_unreadable" in done.stderr) == (Exit.ERROR, True)


def test_a_file_without_an_end_is_given_up_at_once() -> None:
    done = verify("/dev/zero", "--anchor", GENESIS, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["reason"]) == (Exit.FAILED, "too_long")


# Progress


def test_progress_is_shown_on_a_terminal_only_and_never_on_stdout(log: Log) -> None:
    mine, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from cli.audit import app; app()",
                "verify",
                "-",
                "--anchor",
                str(log.after),
                "--json",
            ],
            env={"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TERM": "xterm"},
            input=log.path.read_bytes(),
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
        )
        shown = os.read(mine, 10_000)
    finally:
        os.close(mine)
        os.close(theirs)
    assert (done.returncode, json.loads(done.stdout)["events"]) == (0, 3)
    assert b"bytes" in shown


# Exporting


@dataclass
class Served:
    """What a gateway answers to `GET /admin/audit/export`, and what it was asked."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    cut: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def served(environment: dict[str, str]) -> Iterator[Served]:
    answer = Served()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked.append(self.path)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) - answer.cut])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        environment |= {"TASKFORCE_URL": f"http://127.0.0.1:{server.server_port}", "TASKFORCE_TOKEN": "a-token"}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield answer
        server.shutdown()
        thread.join()


Command = Callable[..., Done]


def test_an_export_and_its_anchor_are_written_and_verify(
    taskforce: Command, served: Served, log: Log, tmp_path: Path
) -> None:
    served.body, served.headers = log.path.read_bytes(), {"Audit-Anchor": str(log.after)}
    done = taskforce("audit", "export", "--output", "out.jsonl", "--after", str(GENESIS))
    assert (done.code, done.err) == (Exit.OK, "")
    assert f"anchor {log.after}" in done.out
    assert served.asked == [f"/api/v1/admin/audit/export?after={GENESIS}".replace(":", "%3A")]
    assert (tmp_path / "out.jsonl").read_bytes() == served.body
    assert (tmp_path / "out.jsonl.anchor").read_text() == f"{log.after}\n"
    assert taskforce("audit", "verify", "out.jsonl").code == Exit.OK


def test_json_tells_where_everything_is(taskforce: Command, served: Served, log: Log) -> None:
    served.body, served.headers = log.path.read_bytes(), {"Audit-Anchor": str(log.after)}
    done = taskforce("audit", "export", "-o", "out.jsonl", "--json")
    assert json.loads(done.out) == {
        "file": "out.jsonl",
        "bytes": len(served.body),
        "anchor": str(log.after),
        "anchor_file": "out.jsonl.anchor",
    }


@pytest.mark.parametrize("there", ["out.jsonl", "out.jsonl.anchor"])
def test_nothing_is_written_over(taskforce: Command, served: Served, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("kept")
    done = taskforce("audit", "export", "--output", "out.jsonl")
    assert (done.code, "file_exists" in done.err, served.asked) == (Exit.USAGE, True, [])
    assert (tmp_path / there).read_text() == "kept"


def test_what_breaks_off_is_not_kept(taskforce: Command, served: Served, log: Log, tmp_path: Path) -> None:
    served.body, served.headers, served.cut = log.path.read_bytes(), {"Audit-Anchor": str(log.after)}, 10
    done = taskforce("audit", "export", "--output", "out.jsonl")
    assert (done.code, "answer_lost" in done.err) == (Exit.UNAVAILABLE, True)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("out")] == []


@pytest.mark.parametrize("anchor", ["", "acme:1:abc"])
def test_an_answer_without_an_anchor_is_none(
    taskforce: Command, served: Served, log: Log, tmp_path: Path, anchor: str
) -> None:
    served.body, served.headers = log.path.read_bytes(), {"Audit-Anchor": anchor}
    done = taskforce("audit", "export", "--output", "out.jsonl")
    assert (done.code, "answer_not_understood" in done.err) == (Exit.ERROR, True)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_refusal_is_told(taskforce: Command, served: Served, tmp_path: Path) -> None:
    served.status, served.body = 403, b'{"code": "permission_denied", "detail": "You may not."}'
    done = taskforce("audit", "export", "--output", "out.jsonl", "--json")
    assert (done.code, json.loads(done.out)["error"]["code"]) == (Exit.REFUSED, "permission_denied")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_place_that_cannot_be_written_is_an_error(taskforce: Command, served: Served, log: Log) -> None:
    served.body, served.headers = log.path.read_bytes(), {"Audit-Anchor": str(log.after)}
    done = taskforce("audit", "export", "--output", "nowhere/out.jsonl")
    assert (done.code, "file_unwritable" in done.err) == (Exit.ERROR, True)
