"""Approvals in a program that embeds the library, beyond what the guide shows."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
import structlog

from taskforce.application.workflows import ApprovalStatus, WorkflowManager
from taskforce.application.workflows.approval import ApprovalRequest, ApprovalWorkflow, RequestType
from taskforce.application.workflows.in_memory import EventName
from taskforce.core.domain.approvals.definitions import Definition, Source
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import DomainError, Invalid

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Stage:
    """A manager whose time a test moves, and what it told."""

    def __init__(self, **options: Any) -> None:
        self.now = NOW
        self.manager = WorkflowManager(clock=lambda: self.now, **options)
        self.told: list[str] = []
        for event in get_args(EventName):
            self.manager.on_event(event, self._listening(event))

    def _listening(self, event: str) -> Callable[[ApprovalRequest], None]:
        return lambda request: self.told.append(f"{event} {request.status.value}")

    def workflow(self, **words: Any) -> None:
        usual = {"workflow_id": "one", "tenant_id": "acme", "name": "One", "request_type": RequestType.DATA_EXPORT}
        self.manager.register_workflow(ApprovalWorkflow(**{**usual, **words}))

    def ask(self, **changes: Any) -> ApprovalRequest:
        usual = {
            "tenant_id": "acme",
            "request_type": RequestType.DATA_EXPORT,
            "resource_type": "dataset",
            "resource_id": "customers",
            "requester_id": "alice",
            "title": "Export customers",
        }
        return self.manager.create_request(**{**usual, **changes})


@pytest.fixture
def stage() -> Stage:
    return Stage()


def code(attempt: Callable[[], object]) -> str:
    with pytest.raises(DomainError) as refused:
        attempt()
    return refused.value.code


def test_without_a_workflow_the_usual_terms_count_and_only_for_what_is_known(stage: Stage) -> None:
    request = stage.ask()
    assert (request.workflow_id, request.required_approvers, request.allowed_approver_roles) == (None, 1, {"admin"})
    assert code(lambda: stage.ask(request_type="holiday")) == "request_type_unknown"
    assert code(lambda: stage.ask(tenant_id="a/b")) == "tenant_id_invalid"


def test_a_request_keeps_the_workflow_that_it_began_with(stage: Stage) -> None:
    stage.workflow(required_approvers=2)
    request = stage.ask()
    stage.workflow(required_approvers=1)
    assert (request.required_approvers, stage.ask().required_approvers) == (2, 1)
    stage.manager.approve_request(request.request_id, "bob")
    assert request.status is ApprovalStatus.PENDING


def test_the_profiles_definitions_count_until_the_tenant_replaces_them() -> None:
    terms = Terms(allowed_roles=("cfo",))
    stage = Stage(profile=[Definition("one", "One", "data_export", terms, source=Source.PROFILE)])
    assert stage.ask().allowed_approver_roles == {"cfo"}
    stage.workflow(allowed_approver_roles={"legal"})
    assert stage.ask().allowed_approver_roles == {"legal"}
    assert stage.ask(tenant_id="other").allowed_approver_roles == {"cfo"}


def test_what_is_asked_for_fits_its_schema_and_stays_as_it_was_asked(stage: Stage) -> None:
    schema = {"type": "object", "required": ["days"], "properties": {"days": {"type": "integer"}}}
    stage.workflow(request_type="holiday", payload_schema=schema)
    assert code(lambda: stage.ask(request_type="holiday")) == "payload_invalid"
    payload: dict[str, Any] = {"days": 3, "where": {"country": "Iceland"}}
    request = stage.ask(request_type="holiday", payload=payload)
    payload["where"]["country"] = "France"
    request.payload["where"] = None
    assert request.payload == {"days": 3, "where": {"country": "Iceland"}}


def test_a_workflow_that_makes_no_sense_says_everything_that_is_wrong(stage: Stage) -> None:
    with pytest.raises(Invalid) as refused:
        stage.workflow(required_approvers=0, auto_expire_hours=-1, payload_schema={"type": "objekt"})
    problems = refused.value.details["problems"]
    assert isinstance(problems, list)
    assert {one["path"] for one in problems} == {"required_approvers", "auto_expire_hours", "payload_schema"}
    assert code(lambda: stage.workflow(tenant_id="")) == "tenant_id_invalid"
    assert code(lambda: stage.manager.on_event("request_lost", print)) == "event_unknown"  # type: ignore[arg-type]


def test_refusals_have_the_codes_of_the_service(stage: Stage) -> None:
    stage.workflow(required_approvers=2, comment_required=True)
    request_id = stage.ask().request_id
    manager = stage.manager
    assert code(lambda: manager.approve_request("absent", "bob")) == "request_not_found"
    assert code(lambda: manager.approve_request(request_id, "bob")) == "comment_required"
    manager.approve_request(request_id, "bob", "fine")
    assert code(lambda: manager.reject_request(request_id, "bob", "no")) == "already_decided"
    assert code(lambda: manager.approve_request(request_id, "alice", "fine")) == "self_approval"
    assert code(lambda: manager.withdraw(request_id, "bob")) == "requester_only"
    assert manager.withdraw(request_id, "alice")
    assert code(lambda: manager.approve_request(request_id, "carol", "fine")) == "request_closed"
    assert manager.get_request(request_id).status is ApprovalStatus.WITHDRAWN
    assert [one.action for one in manager.get_request(request_id).actions] == ["approve", "withdraw"]


def test_another_tenants_request_is_not_there(stage: Stage) -> None:
    request_id, manager = stage.ask().request_id, stage.manager
    for attempt in (
        lambda: manager.get_request(request_id, tenant_id="other"),
        lambda: manager.approve_request(request_id, "bob", tenant_id="other"),
        lambda: manager.reject_request(request_id, "bob", tenant_id="other"),
        lambda: manager.withdraw(request_id, "alice", tenant_id="other"),
    ):
        assert code(attempt) == "request_not_found"
    assert manager.list_pending_for_approver("other", "bob", {"admin"}) == []
    assert manager.get_request(request_id, tenant_id="acme").status is ApprovalStatus.PENDING


def test_roles_bind_where_they_are_known() -> None:
    held: dict[tuple[str, str], Collection[str]] = {("acme", "bob"): {"admin"}, ("acme", "eve"): {"viewer"}}
    stage = Stage(roles=lambda tenant_id, user_id: held.get((tenant_id, user_id)))
    request_id, approve = stage.ask().request_id, stage.manager.approve_request
    assert code(lambda: approve(request_id, "eve")) == "approver_role_missing"
    assert code(lambda: approve(request_id, "nobody")) == "approver_unknown"
    assert code(lambda: approve(request_id, "bob", user_roles=())) == "approver_role_missing"
    assert approve(request_id, "bob")


def test_people_by_name_bind_though_no_roles_are_known(stage: Stage) -> None:
    stage.workflow(allowed_approvers={"carol"})
    request = stage.ask()
    assert code(lambda: stage.manager.approve_request(request.request_id, "bob")) == "approver_role_missing"
    assert stage.manager.list_pending_for_approver("acme", "carol", ()) == [request]
    assert stage.manager.approve_request(request.request_id, "carol")


CHAIN = [
    {"after_hours": 24, "do": "remind"},
    {"after_hours": 36, "do": "widen", "roles": ["cfo"]},
    {"after_hours": 40, "do": "reassign", "people": ["erin"]},
]


def test_time_reminds_lets_others_decide_and_ends(stage: Stage) -> None:
    stage.workflow(auto_expire_hours=48, actions=CHAIN)
    request = stage.ask()
    for hours, roles, people in ((24, {"admin"}, set()), (36, {"admin", "cfo"}, set()), (40, set(), {"erin"})):
        stage.manager.tick(NOW + hours * HOUR)
        assert (request.allowed_approver_roles, request.allowed_approvers) == (roles, people)
    stage.manager.tick(NOW + 48 * HOUR - timedelta(microseconds=1))
    assert request.status.value == "pending"
    stage.manager.tick(NOW + 48 * HOUR)
    assert request.status.value == "expired"
    stage.manager.tick(NOW + 99 * HOUR)
    assert stage.told == [
        "request_created pending",
        "request_action pending",
        "request_escalated pending",
        "request_escalated pending",
        "request_expired expired",
    ]
    at = [NOW + hours * HOUR for hours in (24, 36, 40, 48)]
    assert [(one.action, one.user_id, one.at) for one in request.actions] == [
        ("remind", None, at[0]),
        ("widen", None, at[1]),
        ("reassign", None, at[2]),
        ("expire", None, at[3]),
    ]


def test_what_is_due_happens_before_a_word_counts(stage: Stage) -> None:
    stage.workflow(auto_expire_hours=48, actions=CHAIN)
    request, late = stage.ask(), stage.ask()
    assert code(lambda: stage.manager.approve_request(request.request_id, "bob", now=NOW + 41 * HOUR)) == (
        "approver_role_missing"
    )
    assert stage.manager.list_pending_for_approver("acme", "erin", (), now=NOW + 41 * HOUR) == [request, late]
    assert code(lambda: stage.manager.approve_request(late.request_id, "erin", now=NOW + 48 * HOUR)) == "request_closed"
    assert "request_expired expired" in stage.told
    # Time does not go back.
    assert code(lambda: stage.manager.approve_request(late.request_id, "erin", now=NOW)) == "request_closed"


def test_a_request_that_nobody_touches_shows_that_it_has_expired(stage: Stage) -> None:
    request = stage.ask()
    stage.now += 72 * HOUR
    assert request.status is ApprovalStatus.EXPIRED
    assert stage.manager.list_pending_for_approver("acme", "bob", {"admin"}) == []
    assert stage.told == ["request_created pending", "request_expired expired"]


def test_a_workflow_may_keep_quiet(stage: Stage) -> None:
    stage.workflow(notify_on_create=False, notify_on_action=False, required_approvers=2, actions=CHAIN[:1])
    request_id = stage.ask().request_id
    stage.manager.approve_request(request_id, "bob")
    stage.manager.tick(NOW + 25 * HOUR)
    stage.manager.approve_request(request_id, "carol")
    assert stage.told == ["request_approved approved"]


def test_a_callback_that_fails_is_logged_and_changes_nothing() -> None:
    manager_told: list[str] = []
    stage = Stage()

    def fail(request: ApprovalRequest) -> None:
        raise RuntimeError(request.title)

    stage.manager.on_event("request_approved", fail)
    stage.manager.on_event("request_approved", lambda request: manager_told.append(request.request_id))
    request = stage.ask()
    with structlog.testing.capture_logs() as logs:
        assert stage.manager.approve_request(request.request_id, "bob")
    assert [(one["event"], one["event_name"]) for one in logs] == [("approval.callback_failed", "request_approved")]
    assert request.status is ApprovalStatus.APPROVED
    assert manager_told == [request.request_id]


def test_a_callback_may_go_on_deciding(stage: Stage) -> None:
    stage.workflow(required_approvers=2)

    def follow(request: ApprovalRequest) -> None:
        if request.current_approvers == {"bob"}:
            stage.manager.approve_request(request.request_id, "carol")

    stage.manager.on_event("request_action", follow)
    request = stage.ask()
    stage.manager.approve_request(request.request_id, "bob")
    assert request.status is ApprovalStatus.APPROVED
    assert stage.told.count("request_approved approved") == 1


def test_of_many_at_the_same_instant_each_counts_once(stage: Stage) -> None:
    stage.workflow(required_approvers=20)
    request = stage.ask()

    def approve(number: int) -> str:
        try:
            stage.manager.approve_request(request.request_id, f"user-{number % 20}")
        except DomainError as error:
            return error.code
        return "counts"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(approve, range(40)))
    assert answers.count("counts") == 20
    assert set(answers) <= {"counts", "already_decided", "request_closed"}
    assert request.status is ApprovalStatus.APPROVED
    assert stage.told.count("request_approved approved") == 1
