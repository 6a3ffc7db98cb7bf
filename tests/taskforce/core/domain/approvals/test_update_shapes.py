"""What no activity could store is refused before it enters a history."""

import pytest

from taskforce.core.domain.approvals.approval import MAX_COMMENT
from taskforce.core.domain.approvals.update_shapes import (
    MAX_NAME,
    MAX_NAMES,
    require_author,
    require_deciders,
    require_hashes,
)
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import new_id

HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize("user_id", ["bob", "auth0|5f7", "\u9648", "b" * MAX_NAME, "two words", "a\nb"])
def test_whatever_names_a_user_may_be_an_author(user_id: str) -> None:
    require_author(user_id, "x" * MAX_COMMENT, new_id())


@pytest.mark.parametrize(
    ("user_id", "comment", "key_id"),
    [
        ("", "", None),
        ("b" * (MAX_NAME + 1), "", None),
        ("b\x00b", "", None),
        ("\ud800", "", None),
        ("bob", "x" * (MAX_COMMENT + 1), None),
        ("bob", "", ""),
        ("bob", "", "\x00"),
        ("bob", "", "01a22780-e02b-7965-b7e0-1c8ae1e195640"),
    ],
)
def test_nobody_else_is_one(user_id: str, comment: str, key_id: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        require_author(user_id, comment, key_id)
    assert refused.value.code == "update_malformed"


@pytest.mark.parametrize(("seen", "edit"), [(None, None), (HASH, HASH), ("", None)])
def test_hashes_are_hashes(seen: str | None, edit: str | None) -> None:
    require_hashes(seen, edit)


@pytest.mark.parametrize(("seen", "edit"), [("\x00", None), (HASH[1:], None), (None, ""), (None, HASH + "\n")])
def test_nothing_else_is_one(seen: str | None, edit: str | None) -> None:
    with pytest.raises(Invalid):
        require_hashes(seen, edit)


def test_deciders_are_names_and_not_too_many() -> None:
    require_deciders(["admin"] * MAX_NAMES, ["bob"] * MAX_NAMES, "request-1")
    for roles, people, request in (
        (["admin"] * (MAX_NAMES + 1), [], None),
        ([], ["\x00"], None),
        ([""], [], None),
        ([], [], "\x00"),
        ([], [], "r" * 201),
    ):
        with pytest.raises(Invalid):
            require_deciders(roles, people, request)
