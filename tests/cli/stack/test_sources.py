"""Ways to a program race; what is left of the slower ones is nothing."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.stack.binaries import Sdk, find_temporal, silent, temporal_binary
from cli.stack.processes import ProcessId, wait_until
from cli.stack.sources import GoBuild, SdkDownload, first_of
from taskforce.core.domain.errors import Unavailable

PATIENCE_SECONDS = 60
PROGRAM = "#!/bin/sh\necho temporal version 1\n"

Programs = Callable[[str, str], Path]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts scripts on a PATH that has nothing else but the system's own."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def make(name: str, text: str) -> Path:
        path = directory / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


def builds(more: str = "") -> str:
    """A stand-in for Go that makes a program, and counts how often."""
    return (
        f'#!/bin/sh\n{more}\necho "$@" >> "$GO_COUNT"; env > "$GO_COUNT.env"\n'
        f"printf '%s' '{PROGRAM}' > \"$GOBIN/temporal\"; chmod +x \"$GOBIN/temporal\"\n"
    )


def test_go_builds_the_pinned_version_without_what_only_a_debugger_needs(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("go", builds())
    monkeypatch.setenv("GO_COUNT", str(tmp_path / "count"))
    for name, value in {"GOBIN": "/usr/local/bin", "GOFLAGS": "-mod=vendor -modcacherw", "GOOS": "plan9"}.items():
        monkeypatch.setenv(name, value)
    found = first_of([GoBuild("example.com/temporal@v1", tmp_path / "a b")], silent)
    assert found == tmp_path / "a b" / "temporal"
    assert (tmp_path / "count").read_text().strip() == "install -v -trimpath -ldflags=-s -w example.com/temporal@v1"
    seen = dict(line.split("=", 1) for line in (tmp_path / "count.env").read_text().splitlines() if "=" in line)
    assert (seen["GOFLAGS"], seen["CGO_ENABLED"]) == ("-modcacherw", "0")
    assert "GOOS" not in seen


def test_two_who_need_it_at_once_build_it_once(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("go", builds(f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"))
    monkeypatch.setenv("GO_COUNT", str(tmp_path / "count"))
    heard: list[str] = []
    found: list[Path] = []

    def need() -> None:
        found.append(temporal_binary(heard.append, tmp_path / "cache", Sdk(Path("none"), lambda: False)))

    both = [threading.Thread(target=need) for _ in range(2)]
    for one in both:
        one.start()
    assert wait_until(lambda: any("waiting for process" in text for text in heard), PATIENCE_SECONDS)
    (tmp_path / "go").touch()
    for one in both:
        one.join(PATIENCE_SECONDS)
    assert found == [tmp_path / "cache" / "bin" / "temporal"] * 2
    assert find_temporal(tmp_path / "cache") == found[0]
    assert len((tmp_path / "count").read_text().splitlines()) == 1
    assert list((tmp_path / "cache" / "bin").glob(".new-*")) == []


def test_a_download_that_is_first_ends_the_build_with_all_its_compilers(programs: Programs, tmp_path: Path) -> None:
    # Like `go`, it has children of its own, which a signal to it alone would leave behind.
    programs("go", f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/compiler\nwait\n")
    python = programs("python", f"#!/bin/sh\nprintf '%s' '{PROGRAM}' > \"$4/server\"; chmod +x \"$4/server\"\n")
    compiler: list[ProcessId] = []

    def ready() -> bool:
        text = (tmp_path / "compiler").read_text() if (tmp_path / "compiler").exists() else ""
        process = ProcessId.of(int(text)) if text.strip() else None
        if process:
            compiler.append(process)
        return process is not None

    cache = tmp_path / "cache"
    assert temporal_binary(silent, cache, Sdk(python, ready)) == cache / "bin" / "temporal"
    assert wait_until(lambda: not compiler[0].alive(), PATIENCE_SECONDS)


def test_a_build_that_fails_is_told_with_its_own_words_once_nothing_else_is_left(
    programs: Programs, tmp_path: Path
) -> None:
    programs("go", "#!/bin/sh\necho no such module >&2; exit 1\n")
    python = programs("python", "#!/bin/sh\nexit 1\n")
    with pytest.raises(Unavailable) as refused:
        temporal_binary(silent, tmp_path / "cache", Sdk(python))
    assert "no such module" in refused.value.message
    assert "could not be downloaded" in refused.value.message


def test_without_go_and_without_the_sdk_it_says_what_would_help(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = programs("python", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", str(python.parent))
    with pytest.raises(Unavailable) as refused:
        temporal_binary(silent, tmp_path / "cache", Sdk(python))
    assert "install Go" in refused.value.message


def test_a_download_waits_for_the_sdk(programs: Programs, tmp_path: Path) -> None:
    python = programs("python", f"#!/bin/sh\nprintf '%s' '{PROGRAM}' > \"$4/server\"; chmod +x \"$4/server\"\n")
    answers = iter([False, False, False])
    download = SdkDownload("dev", tmp_path / "sdk", python, lambda: next(answers, True))
    assert first_of([download], silent) == tmp_path / "sdk" / "server"


def test_the_rule_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    program = (
        f"import sys; sys.path.insert(0, {str(root)!r}); "
        "import cli.stack.binaries, cli.setup.__main__; print(cli.stack.binaries.cache_dir())"
    )
    environment = {**os.environ, "TASKFORCE_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path), "")
