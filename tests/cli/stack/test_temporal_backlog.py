"""The local server lets tenants take turns where no task waits that it would then not find."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.stack.temporal import TemporalDevServer

FAIR = "matching.enableFairness=true"


def arguments(directory: Path, database: Path | None) -> list[str]:
    server = TemporalDevServer(directory / "temporal", log=directory / "log", port=1, ui_port=None, database=database)
    return server._arguments()


def filled(path: Path, *tasks: int, fair_queues: int = 0) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE tasks (task_id INTEGER)")
        connection.execute("CREATE TABLE task_queues_v2 (range_id INTEGER)")
        connection.executemany("INSERT INTO tasks VALUES (?)", [(task,) for task in tasks])
        connection.executemany("INSERT INTO task_queues_v2 VALUES (?)", [(queue,) for queue in range(fair_queues)])
    return path


def test_a_new_server_is_fair(tmp_path: Path) -> None:
    assert FAIR in arguments(tmp_path, None)
    assert FAIR in arguments(tmp_path, tmp_path / "new.db")


def test_so_is_one_whose_tasks_are_all_done(tmp_path: Path) -> None:
    assert FAIR in arguments(tmp_path, filled(tmp_path / "known.db"))


def test_tasks_that_wait_in_the_old_table_are_served_first(tmp_path: Path) -> None:
    assert FAIR not in arguments(tmp_path, filled(tmp_path / "known.db", 1, 2))


def test_a_server_that_was_fair_stays_fair_whatever_sticky_queues_left_behind(tmp_path: Path) -> None:
    assert FAIR in arguments(tmp_path, filled(tmp_path / "killed.db", 1, 2, fair_queues=3))


@pytest.mark.parametrize("content", [b"", b"not a database"])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.db").write_bytes(content)
    assert FAIR not in arguments(tmp_path, tmp_path / "odd.db")
