"""Who root's PostgreSQL runs as, and what that user needs opened."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from cli.stack.postgres_account import Account


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def programs(home: Path) -> Path:
    program = home / "programs" / "bin" / "postgres"
    program.parent.mkdir(parents=True)
    program.touch()
    program.chmod(0o755)
    return home / "programs"


def test_an_account_of_ones_own_opens_nothing(home: Path, programs: Path) -> None:
    account = Account(os.geteuid(), os.getegid(), borrowed=False)
    assert account.admit(home, programs) == ()
    assert mode(home) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root borrows an account")
class TestRoot:
    def test_the_account_is_nobody_elses(self) -> None:
        account = Account.for_server()
        assert account == Account.for_server()
        assert account.uid not in {user.pw_uid for user in pwd.getpwall()}

    def test_what_stops_the_account_is_opened_to_pass_and_named_once(self, home: Path, programs: Path) -> None:
        data = home / "private" / "data"
        data.mkdir(parents=True)
        data.parent.chmod(0o700)
        account = Account.for_server()
        assert account.admit(data, programs) == (home, data.parent)
        assert (mode(home), mode(data.parent)) == (0o701, 0o701)
        assert account.admit(data, programs) == ()

    def test_where_the_account_gets_there_anyway_nothing_is_opened(self, home: Path, programs: Path) -> None:
        account = Account.for_server()
        account.give(home)
        assert account.admit(home, programs) == ()
        assert mode(home) == 0o700

    def test_programs_that_cannot_be_run_are_opened_and_named(self, home: Path, programs: Path) -> None:
        (programs / "bin" / "postgres").chmod(0o700)
        assert Account.for_server().admit(home, programs) == (home, programs / "*")
        assert mode(programs / "bin" / "postgres") == 0o705
