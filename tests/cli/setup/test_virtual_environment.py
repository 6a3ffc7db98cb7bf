"""Whose `.venv` it is decides what the set-up does with it."""

from pathlib import Path

import pytest

from cli.setup.errors import SetupFailed
from cli.setup.virtual_environment import VirtualEnvironment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / lock).write_text("# nothing\n")
    return tmp_path


def test_what_the_set_up_made_is_removed(checkout: Path) -> None:
    environment = VirtualEnvironment(checkout)
    environment.path.mkdir()
    (environment.path / ".made-by-taskforce").touch()
    environment.remove()
    assert not environment.exists()
    environment.remove()


def test_one_of_an_earlier_version_counts_as_its_own(checkout: Path) -> None:
    environment = VirtualEnvironment(checkout)
    environment.path.mkdir()
    (environment.path / ".installed-dev").touch()
    assert environment.ours()


def test_somebody_elses_is_neither_removed_nor_made_anew(checkout: Path) -> None:
    environment = VirtualEnvironment(checkout)
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "precious").touch()
    for refused in (environment.remove, environment.make):
        with pytest.raises(SetupFailed, match="was not made by this set-up"):
            refused()
    assert (environment.path / "precious").exists()


def test_a_link_is_nobodys_to_remove_even_if_it_leads_to_one_of_ours(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / ".made-by-taskforce").touch()
    environment = VirtualEnvironment(checkout)
    environment.path.symlink_to(other)
    with pytest.raises(SetupFailed):
        environment.remove()
    assert (other / ".made-by-taskforce").exists()


def test_a_link_to_one_that_works_is_used_as_it_is(checkout: Path) -> None:
    environment = VirtualEnvironment(checkout)
    own = Path(__file__).parents[3] / ".venv"
    environment.path.symlink_to(own.resolve())
    assert environment.installed("dev")
