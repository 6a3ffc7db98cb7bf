"""What is sealed opens in its place, by its key, unchanged, and nowhere else."""

from dataclasses import replace

import pytest

from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.persistence.column_encryption import PREFIX, ColumnSealer, Place

PLACE = Place("acme-corp", "webhooks", "secret", "0192f0c1")
KEY = bytes(range(32))


def refused(sealer: ColumnSealer, sealed: bytes, place: Place = PLACE) -> str:
    with pytest.raises(Unavailable) as refusal:
        sealer.open(sealed, place)
    return refusal.value.code


def test_what_is_sealed_opens_again() -> None:
    for text in ("whsec_abc", "", "Größe \U0001f600" * 1_000):
        assert ColumnSealer(KEY).open(ColumnSealer(KEY).seal(text, PLACE), PLACE) == text


def test_it_cannot_be_read_and_is_never_the_same() -> None:
    sealed = [ColumnSealer(KEY).seal("whsec_abc", PLACE) for _ in range(50)]
    assert len(set(sealed)) == 50
    assert not any(b"whsec" in one for one in sealed)
    assert all(one.startswith(PREFIX) for one in sealed)


@pytest.mark.parametrize("part", ["tenant_id", "table", "column", "row"])
def test_copied_to_another_place_it_does_not_open(part: str) -> None:
    sealed = ColumnSealer(KEY).seal("whsec_abc", PLACE)
    assert refused(ColumnSealer(KEY), sealed, replace(PLACE, **{part: "other"})) == "encryption_key_wrong"


def test_places_that_read_alike_are_not_the_same() -> None:
    sealed = ColumnSealer(KEY).seal("x", Place("a", "b", "c", "d"))
    assert refused(ColumnSealer(KEY), sealed, Place('a","b', "", "c", "d")) == "encryption_key_wrong"


def test_by_another_key_it_does_not_open() -> None:
    sealed = ColumnSealer(KEY).seal("whsec_abc", PLACE)
    assert refused(ColumnSealer(bytes(32)), sealed) == "encryption_key_wrong"


def test_changed_in_any_byte_or_cut_it_does_not_open() -> None:
    sealer, sealed = ColumnSealer(KEY), ColumnSealer(KEY).seal("whsec_abc", PLACE)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert refused(sealer, changed) == "encryption_key_wrong"
        assert refused(sealer, sealed[:at]) == "encryption_key_wrong"


def test_without_a_key_nothing_is_sealed_and_nothing_opens() -> None:
    with pytest.raises(Unavailable) as refusal:
        ColumnSealer().seal("whsec_abc", PLACE)
    assert refusal.value.code == "encryption_key_missing"
    assert "TASKFORCE_ENCRYPTION_KEY" in refusal.value.message
    assert refused(ColumnSealer(), ColumnSealer(KEY).seal("x", PLACE)) == "encryption_key_missing"


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ColumnSealer(bytes(size))
