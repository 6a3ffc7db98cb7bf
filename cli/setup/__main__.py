"""Sets a checkout up with nothing but the standard library; called by `scripts/setup.sh`.

Packages and programs are fetched side by side, each in a process of its own: a build by Go takes minutes and needs no
virtual environment.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.setup.errors import SetupFailed
from cli.setup.jobs import Display, Job, leave, run
from cli.setup.needs import GOALS, Need, describe, needs_of
from cli.setup.packages import install
from cli.setup.virtual_environment import VirtualEnvironment
from cli.stack.binaries import Sdk, prometheus_programs, temporal_binary, time_skipping_server
from cli.stack.locks import exclusive
from taskforce.core.domain.errors import DomainError

_ROOT = Path(__file__).resolve().parents[2]
_LOCK_SECONDS = 1800.0


def main(arguments: Sequence[str]) -> int:
    """Runs the command that the arguments name.

    Args:
        arguments: See `--help`.

    Returns:
        The exit code.
    """
    given = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    environment = VirtualEnvironment(_ROOT)
    try:
        return _carry_out(given.verb, given.words, environment)
    except (SetupFailed, DomainError) as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/setup.sh",
        description="Sets this checkout up.",
        epilog="run, check, test: fetches what `make` of that name needs. programs: fetches the servers that tests "
        "need, without Python's packages. doctor: says what is here and what would be fetched. "
        "ready: whether the product's packages are here. clean: removes .venv.",
    )
    parser.add_argument("verb", choices=[*GOALS, "programs", "doctor", "ready", "clean", "job"])
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _carry_out(verb: str, arguments: Sequence[str], environment: VirtualEnvironment) -> int:
    if verb == "doctor":
        return _doctor(environment)
    if verb == "ready":
        return 0 if environment.usable() and environment.installed("run") else 1
    if verb == "clean":
        environment.remove()
    elif verb == "job":
        _job(arguments, environment)
    else:
        needs = needs_of("test" if verb == "programs" else verb, environment)
        return _fetch([need for need in needs if verb != "programs" or need.job[0] != "packages"])
    return 0


def _doctor(environment: VirtualEnvironment) -> int:
    sys.stdout.write(describe(environment, needs_of("test", environment)) + "\n")
    return 0


def _fetch(needs: Sequence[Need]) -> int:
    missing = [need for need in needs if not need.found]
    if not missing:
        return 0
    display = Display(sys.stdout, shutil.get_terminal_size().columns)
    for need in missing:
        display.tell(f"==> {need.name}: {need.source}; usually {need.usually}")
    jobs = [Job(need.name, _command(need), need.usually, needed=need.required) for need in missing]
    return 0 if run(jobs, display) else 1


def _command(need: Need) -> list[str]:
    script = _ROOT / "scripts" / "setup.py"
    # A process of its own, by the base interpreter: `.venv` is made while it runs.
    return [sys.executable, "-I", "-S", str(script), "job", *need.job]


def _job(arguments: Sequence[str], environment: VirtualEnvironment) -> None:
    match list(arguments):
        case ["packages", kind]:
            with exclusive(_ROOT / ".cache" / "setup.lock", seconds=_LOCK_SECONDS, waiting=_say):
                _say(install(environment, kind, _say))
        case ["temporal"]:
            _say(str(temporal_binary(_say, sdk=_sdk(environment))))
        case ["test-server"]:
            _say(str(time_skipping_server(_say, sdk=_sdk(environment))))
        case ["prometheus"]:
            _say(str(prometheus_programs(_say)))
        case _:
            raise SetupFailed(f"There is no job {' '.join(arguments)}.")


def _sdk(environment: VirtualEnvironment) -> Sdk:
    return Sdk(environment.python, environment.noted)


_said = ""


def _say(text: str) -> None:
    global _said  # noqa: PLW0603  what is said twice is written once
    if text and text != _said:
        _said = text
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
