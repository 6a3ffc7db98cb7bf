"""What becomes of a decision that the workflow answers."""

import pytest

from taskforce.application.approvals.submissions import require_counted
from taskforce.core.domain.approvals.submissions import DecisionResult
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid, Kind, Unavailable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("approver_unknown", Forbidden),
        ("arguments_invalid", Invalid),
        ("request_closed", Conflict),
        ("of_tomorrow", Conflict),
    ],
)
def test_a_refusal_keeps_its_code_and_its_kind(code: str, kind: type[DomainError]) -> None:
    with pytest.raises(kind) as refused:
        require_counted(DecisionResult("pending", code, "No.", kind.kind))
    assert (refused.value.code, refused.value.message) == (code, "No.")


@pytest.mark.parametrize(
    ("code", "kind"), [("internal", None), ("database_unavailable", Kind.UNAVAILABLE), ("edit_not_found", Kind.MISSING)]
)
def test_a_decision_that_failed_is_no_conflict_and_tells_nothing_of_our_insides(code: str, kind: Kind | None) -> None:
    with pytest.raises(Unavailable) as failed:
        require_counted(DecisionResult("pending", code, "KeyError: 'inside'", kind))
    assert failed.value.code == "decision_failed"
    assert "inside" not in failed.value.message


def test_a_decision_that_counts_is_not_refused() -> None:
    require_counted(DecisionResult("approved"))
