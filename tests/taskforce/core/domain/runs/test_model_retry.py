"""How long a run waits before it asks a model again."""

from datetime import timedelta

import pytest

from taskforce.core.domain.runs.model_retry import gives_up, pause_before


@pytest.mark.parametrize(
    ("attempt", "asked", "seconds"), [(2, None, 1), (3, None, 2), (8, None, 60), (900, None, 60), (2, 7, 7), (8, 7, 60)]
)
def test_the_pause_doubles_up_to_the_longest_and_heeds_what_the_provider_asks(
    attempt: int, asked: float | None, seconds: float
) -> None:
    assert pause_before(attempt, 60, asked, 0) == timedelta(seconds=seconds)


def test_runs_that_failed_together_come_back_apart() -> None:
    assert pause_before(5, 60, None, 1) == pause_before(5, 60, None, 0) * 1.1


@pytest.mark.parametrize(
    ("waited", "pause", "over"), [(0, 60, False), (50, 10, False), (50, 11, True), (0, 3_600, True)]
)
def test_patience_counts_from_the_first_failure_to_the_next_try(waited: int, pause: int, over: bool) -> None:
    assert gives_up(timedelta(seconds=waited), timedelta(seconds=pause), 60) is over
