"""State of sessions in files: whole or not at all, each session its own, for the own user only."""

import asyncio
import stat
from pathlib import Path

import pytest

from taskforce.core.domain.errors import DomainError
from taskforce.infrastructure.persistence.file_state_manager import FileStateManager

NAMES = ("a", "a.b", "..", "../a", "a/b", "a\\b", "größe", "\ud800", "a\x00b", "%2E", "x" * 150)


def written(folder: Path) -> list[Path]:
    return list(folder.rglob("*.json"))


async def test_each_session_has_its_own_state_whatever_its_id(tmp_path: Path) -> None:
    manager = FileStateManager(tmp_path / "new")
    for number, name in enumerate(NAMES):
        assert await manager.load_state(name) is None
        await manager.save_state(name, {"number": number, "text": "größe \ud800"})
    for number, name in enumerate(NAMES):
        assert await manager.load_state(name) == {"number": number, "text": "größe \ud800"}
    assert {path.parent for path in written(tmp_path)} == {tmp_path / "new" / "states"}


async def test_files_are_for_the_own_user_alone(tmp_path: Path) -> None:
    await FileStateManager(tmp_path).save_state("a", {})
    (path,) = written(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_concurrent_writers_leave_one_whole_state_and_no_drafts(tmp_path: Path) -> None:
    manager = FileStateManager(tmp_path)
    states = [{"writer": number, "text": "x" * 10_000 * number} for number in range(20)]
    await asyncio.gather(*(manager.save_state("a", state) for state in states))
    assert await manager.load_state("a") in states
    assert len(list((tmp_path / "states").iterdir())) == 1


async def test_a_state_is_deleted_once(tmp_path: Path) -> None:
    manager = FileStateManager(tmp_path)
    await manager.save_state("a", {"x": 1})
    assert [await manager.delete_state("a") for _ in range(2)] == [True, False]
    assert await manager.load_state("a") is None


async def test_what_cannot_be_kept_or_read_says_so(tmp_path: Path) -> None:
    async def code(work: object) -> str:
        with pytest.raises(DomainError) as refused:
            await work  # type: ignore[misc]  # a coroutine of any result
        return refused.value.code

    manager = FileStateManager(tmp_path)
    assert await code(manager.save_state("", {})) == "session_id_invalid"
    assert await code(manager.load_state("x" * 201)) == "session_id_invalid"
    assert await code(manager.save_state("a", {"x": {1}})) == "json_invalid"
    await manager.save_state("a", {})
    (path,) = written(tmp_path)
    for text in (b"[]", b"{", b"\xff"):
        path.write_bytes(text)
        assert await code(manager.load_state("a")) == "json_invalid"
    (tmp_path / "file").write_text("")
    assert await code(FileStateManager(tmp_path / "file").save_state("a", {})) == "state_unavailable"
