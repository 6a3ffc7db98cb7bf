"""The set-up in surroundings that a person's shell, files and paths can make."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import REPOSITORY

ODD = "a b $HOME `id` \"q\" 'a' \\x"
"""What a shell would take for something else wherever it is not quoted."""
COMMAND = 'import sys\nimport small_package\n\nprint("hello", small_package.NAME, *sys.argv[1:])\n'
SET_BY_OTHERS = {
    "PIP_USER": "1",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PYTHONHOME": "/nowhere",
    "PYTHONOPTIMIZE": "2",
}


@dataclass(frozen=True)
class Checkout:
    """A copy of what the set-up consists of, with lock files of one small package."""

    path: Path
    environment: Mapping[str, str]

    def run(self, *command: str, env: Mapping[str, str] | None = None, directory: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=directory or self.path,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        given = {**self.environment, **(env or {})}
        done = subprocess.run(
            command, cwd=self.path, env=given, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr


def wheel(directory: Path) -> str:
    """Makes the wheel of a small package; returns a lock file's line for it."""
    directory.mkdir()
    path = directory / "small_package-1.0-py3-none-any.whl"
    info = "small_package-1.0.dist-info"
    files = {
        "small_package.py": 'NAME = "small"\n',
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: small-package\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return f"small-package==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / ODD
    for part in ("scripts", "cli/setup", "cli/stack", "taskforce/core/domain"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cli/__init__.py", "taskforce/__init__.py", "taskforce/core/__init__.py", "Makefile"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "cli" / "main.py").write_text(COMMAND)
    line = wheel(tmp_path / "wheels")
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (root / lock).write_text(line)
    # No index has it: where uv cannot be had, pip installs.
    (root / "requirements-uv.lock").write_text("uv==0.0.0 --hash=sha256:" + "0" * 64 + "\n")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PYTHON": str(getattr(sys, "_base_executable", sys.executable)),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "TASKFORCE_CACHE": str(tmp_path / "cache"),
    }
    return Checkout(root, environment)


def test_nothing_that_others_have_set_leads_elsewhere(checkout: Checkout, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "json.py").write_text("raise SystemExit('somebody else')\n")
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(f"[install]\ntarget = {tmp_path}/by-file\nno-deps = yes\n")
    given = {**SET_BY_OTHERS, "PYTHONPATH": str(hostile), "PIP_TARGET": str(tmp_path / "by-variable")}

    told = checkout.run("scripts/setup.sh", "run", env=given)

    assert "by pip" in told
    assert not (tmp_path / "by-file").exists()
    assert not (tmp_path / "by-variable").exists()
    assert not (home / ".local").exists()
    answer = checkout.run(str(checkout.path / ".venv/bin/taskforce"), "a  b", env={"PYTHONHOME": "/nowhere"})
    assert answer == "hello small a  b\n"
    assert checkout.run("scripts/setup.sh", "run", env=given) == ""

    assert checkout.run("make", "clean")
    assert not (checkout.path / ".venv").exists()


def test_cdpath_does_not_lead_to_another_checkout_whose_environment_goes(checkout: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "scripts").mkdir(parents=True)
    (other / ".venv").mkdir()
    (other / ".venv" / "precious").touch()
    (other / "requirements.lock").touch()
    for script in ("scripts/setup.sh", str(checkout.path / "scripts" / "setup.sh")):
        told = checkout.run("bash", script, "doctor", env={"CDPATH": str(other)})
        assert str(other) not in told
        checkout.run("bash", script, "clean", env={"CDPATH": str(other)})
    assert (other / ".venv" / "precious").exists()


def test_an_environment_that_is_somebody_elses_stays_as_it_is(checkout: Checkout) -> None:
    (checkout.path / ".venv").mkdir()
    (checkout.path / ".venv" / "precious").touch()
    for verb in ("run", "clean"):
        assert "was not made by this set-up" in checkout.refused("scripts/setup.sh", verb)
    assert (checkout.path / ".venv" / "precious").exists()


def test_doctor_says_what_would_be_fetched_and_fetches_nothing(checkout: Checkout) -> None:
    told = checkout.run("make", "doctor")
    assert "up to 1 wheels of requirements-dev.lock" in told
    assert "Temporal dev server: downloaded" in told
    assert "Time-skipping server" in told
    assert "GB free" in told
    assert not (checkout.path / ".venv").exists()
    assert not Path(checkout.environment["TASKFORCE_CACHE"]).exists()


def test_python_may_lie_at_a_path_with_a_blank(checkout: Checkout, tmp_path: Path) -> None:
    python = tmp_path / "my python" / "python $3"
    python.parent.mkdir()
    real = checkout.environment["PYTHON"]
    python.write_text(f'#!/bin/sh\ntouch "{tmp_path}/used"\nexec "{real}" "$@"\n')
    python.chmod(0o755)
    checkout.run("make", "doctor", env={"PYTHON": str(python)})
    assert (tmp_path / "used").exists()


def test_a_python_that_is_too_old_is_named(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    told = checkout.refused("scripts/setup.sh", "doctor", env={"PYTHON": "/nowhere/python"})
    assert "none of /nowhere/python, python3.13" in told


def test_uv_that_is_here_installs_from_where_pip_would(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then echo "uv 0.13.9"; exit; fi\n'
        f'printf "%s\\n" "$@" > "{tmp_path}/uv-arguments"; env > "{tmp_path}/uv-environment"\n'
    )
    uv.chmod(0o755)
    told = checkout.run(
        "scripts/setup.sh", "run", env={"UV_TARGET": "/elsewhere", "PIP_INDEX_URL": "https://i.example"}
    )
    assert "by uv" in told
    arguments = (tmp_path / "uv-arguments").read_text().splitlines()
    assert arguments[:2] == ["pip", "install"]
    assert "--require-hashes" in arguments
    assert arguments[arguments.index("--python") + 1] == str(checkout.path / ".venv" / "bin" / "python")
    seen = os.fsdecode((tmp_path / "uv-environment").read_bytes())
    assert "UV_DEFAULT_INDEX=https://i.example" in seen
    assert f"UV_FIND_LINKS={tmp_path / 'wheels'}" in seen
    assert "UV_TARGET" not in seen


def test_where_uv_fails_pip_installs_and_a_wrong_hash_is_refused_by_both(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "uv 0.13.9"; exit; fi\nexit 2\n')
    uv.chmod(0o755)
    lock = checkout.path / "requirements.lock"
    right = lock.read_text()
    lock.write_text(right[: right.index("sha256:") + 7] + "0" * 64 + "\n")
    assert "DO NOT MATCH THE HASHES" in checkout.refused("scripts/setup.sh", "run")
    lock.write_text(right)
    assert "by pip" in checkout.run("scripts/setup.sh", "run")


@pytest.mark.parametrize("script", ["scripts/setup.sh", ".ci/run", "deploy/postgres/roles.sh"])
def test_scripts_are_sound_to_the_shell(script: str) -> None:
    subprocess.run(["/bin/bash", "-n", str(REPOSITORY / script)], check=True)
    text = (REPOSITORY / script).read_text()
    assert "cd " not in text or "unset CDPATH" in text
