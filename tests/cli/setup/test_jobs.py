"""Jobs side by side: shown while they run, and at an end when the set-up is."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.setup.jobs import Display, Job, run
from cli.stack.processes import ProcessId, wait_until
from tests.cli.conftest import REPOSITORY

PATIENCE_SECONDS = 60


def shell(name: str, script: str, *, needed: bool = True) -> Job:
    return Job(name, ["/bin/sh", "-c", script], "a moment", needed=needed)


def told(*jobs: Job) -> tuple[bool, str]:
    stream = io.StringIO()
    return run(jobs, Display(stream)), stream.getvalue()


def test_jobs_run_at_the_same_time(tmp_path: Path) -> None:
    # Each waits for the other's file: one after the other, neither would end.
    meet = f'touch {tmp_path}/$0; until [ -e {tmp_path}/$1 ]; do sleep 0.01; done; echo "met $1"'
    jobs = [Job(me, ["/bin/sh", "-c", meet, me, other], "a moment") for me, other in (("a", "b"), ("b", "a"))]
    succeeded, text = told(*jobs)
    assert succeeded
    assert "✓ a: met b" in text
    assert "✓ b: met a" in text


def test_one_that_fails_ends_the_others_and_says_why() -> None:
    succeeded, text = told(shell("good", "exec sleep 600"), shell("bad", "echo the reason >&2; exit 3"))
    assert not succeeded
    assert "✗ bad\nthe reason" in text


def test_one_that_is_not_needed_may_fail() -> None:
    succeeded, text = told(shell("good", "echo done well"), shell("extra", "echo no luck >&2; exit 1", needed=False))
    assert succeeded
    assert "· extra\nno luck" in text
    assert "✓ good: done well" in text


def test_much_that_is_said_on_stderr_stops_nobody() -> None:
    succeeded, _ = told(shell("loud", "head -c 1000000 /dev/zero >&2"))
    assert succeeded


def test_without_a_terminal_there_is_no_control_sequence() -> None:
    _, text = told(shell("a", "echo one; echo two"))
    assert "\x1b" not in text


def test_in_a_terminal_each_job_has_a_line_that_changes_and_no_longer_than_it_is_wide() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    display = Display(stream, width=30)
    job = Job("packages", [], "10 s", state="x" * 100)
    display.show([job], 1.0)
    display.show([job], 2.0)
    assert stream.getvalue().count("\x1b[2A\x1b[J") == 1
    assert max(len(line.split("\x1b[J")[-1]) for line in stream.getvalue().splitlines()) < 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_however_the_set_up_ends_its_jobs_do_too(tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child of its parent's death")
    script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    program = (
        "import sys; from cli.setup.jobs import Display, Job, run; "
        f"run([Job('long', ['/bin/sh', '-c', {script!r}], 'long')], Display(sys.stdout))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL) as setup:
        assert wait_until(lambda: _content(tmp_path / "pid") != "", PATIENCE_SECONDS)
        job = ProcessId.of(int(_content(tmp_path / "pid")))
        assert job is not None
        setup.send_signal(number)
        setup.wait(PATIENCE_SECONDS)
    assert wait_until(lambda: not job.alive(), PATIENCE_SECONDS)


def _content(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
