"""The facade and the pure rules, driven by the same sequences, never disagree."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from taskforce.application.workflows import WorkflowManager
from taskforce.application.workflows.approval import ApprovalRequest, ApprovalWorkflow
from taskforce.application.workflows.in_memory import EventName
from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.terms import ActionKind, Terms
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import DomainError, Forbidden
from taskforce.core.domain.ids import missing

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
TENANTS = st.sampled_from(["acme", "other"])
PEOPLE = st.sampled_from(["alice", "bob", "carol", "dave"])
ROLES = st.none() | st.sets(st.sampled_from(["admin", "cfo"]))
ACTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "after_hours": st.integers(1, 9),
            "do": st.sampled_from(["remind", "widen", "reassign"]),
            "roles": st.lists(st.sampled_from(["admin", "cfo"]), max_size=2),
            "people": st.lists(PEOPLE, min_size=1, max_size=2),
        }
    ),
    max_size=3,
)


@dataclass
class Model:
    """A request by the pure rules alone; `open` until its end is told."""

    tenant_id: str
    approval: Approval
    open: bool = True


class Agreement(RuleBasedStateMachine):
    """Two tenants, any sequence of requests, words, withdrawals, looks and waits."""

    requests = Bundle("requests")

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.manager = WorkflowManager(clock=lambda: self.now)
        self.terms: dict[str, Terms] = {}
        self.models: dict[str, Model] = {}
        self.told: list[tuple[str, str]] = []
        self.expected: list[tuple[str, str]] = []
        for event in get_args(EventName):
            self.manager.on_event(event, self._listening(event))

    def _listening(self, event: str) -> Callable[[ApprovalRequest], None]:
        return lambda request: self.told.append((event, request.request_id))

    @rule(
        tenant_id=TENANTS,
        approvers=st.integers(1, 3),
        rejections=st.integers(1, 2),
        oneself=st.booleans(),
        comment=st.booleans(),
        roles=st.lists(st.sampled_from(["admin", "cfo"]), max_size=2),
        people=st.sets(PEOPLE, min_size=3),
        actions=ACTIONS,
    )
    def register(
        self,
        tenant_id: str,
        approvers: int,
        rejections: int,
        oneself: bool,
        comment: bool,
        roles: list[str],
        people: set[str],
        actions: list[dict[str, object]],
    ) -> None:
        workflow = ApprovalWorkflow(
            workflow_id="one",
            tenant_id=tenant_id,
            name="One",
            request_type="data_export",
            required_approvers=approvers,
            rejections_to_close=rejections,
            allow_self_approval=oneself,
            comment_required=comment,
            allowed_approver_roles=roles,
            allowed_approvers=people,
            auto_expire_hours=10,
            actions=actions,
        )
        self.manager.register_workflow(workflow)
        self.terms[tenant_id] = workflow.definition.terms

    @rule(target=requests, tenant_id=TENANTS, requester=PEOPLE)
    def ask(self, tenant_id: str, requester: str) -> ApprovalRequest:
        request = self.manager.create_request(
            tenant_id=tenant_id,
            request_type="data_export",
            resource_type="dataset",
            resource_id="customers",
            requester_id=requester,
            title="Export",
        )
        terms = self.terms.get(tenant_id, Terms())
        approval = Approval(request.request_id, requester, terms, self.now, content=canonical_hash({}))
        self.models[request.request_id] = Model(tenant_id, approval)
        self.expected.append(("request_created", request.request_id))
        return request

    @rule(request=requests, who=PEOPLE, verdict=st.sampled_from(Verdict), roles=ROLES, words=st.booleans(), own=TENANTS)
    def decide(
        self, request: ApprovalRequest, who: str, verdict: Verdict, roles: set[str] | None, words: bool, own: str
    ) -> None:
        comment = "because" if words else ""
        act = self.manager.approve_request if verdict is Verdict.APPROVE else self.manager.reject_request
        facade = _outcome(lambda: act(request.request_id, who, comment, user_roles=roles, tenant_id=own))

        def decided() -> None:
            model = self._met(request, own)
            model.approval.check(who, Channel.API, self.now)
            known = roles is not None or not model.approval.who.roles
            if known and not model.approval.who.include(who, roles or ()):
                raise Forbidden("approver_role_missing", "not among them")
            model.approval = model.approval.decide(Decision(who, verdict, comment, Channel.API, self.now))
            self._note(request, "request_action")
            status = model.approval.status(self.now)
            if status is not ApprovalStatus.PENDING:
                model.open = False
                self._note(request, f"request_{status.value}")

        assert facade == _outcome(decided)

    @rule(request=requests, who=PEOPLE, own=TENANTS)
    def withdraw(self, request: ApprovalRequest, who: str, own: str) -> None:
        facade = _outcome(lambda: self.manager.withdraw(request.request_id, who, tenant_id=own))

        def withdrawn() -> None:
            model = self._met(request, own)
            if who != model.approval.requester_id:
                raise Forbidden("requester_only", "not theirs")
            model.approval = model.approval.withdraw(self.now, who)
            model.open = False

        assert facade == _outcome(withdrawn)

    @rule(minutes=st.integers(0, 5).map(lambda hours: 60 * hours) | st.integers(0, 300), look=st.booleans())
    def wait(self, minutes: int, look: bool) -> None:
        self.now += timedelta(minutes=minutes)
        if look:
            self.manager.tick()
            for tenant_id in self.manager._open:
                self._pass(tenant_id)

    @rule(tenant_id=TENANTS, who=PEOPLE, roles=st.sets(st.sampled_from(["admin", "cfo"])))
    def look(self, tenant_id: str, who: str, roles: set[str]) -> None:
        found = self.manager.list_pending_for_approver(tenant_id, who, roles)
        self._pass(tenant_id)
        could = [
            request_id
            for request_id, model in self.models.items()
            if model.tenant_id == tenant_id
            and model.approval.who.include(who, roles)
            and _outcome(lambda one=model.approval: one.check(who, Channel.API, self.now)) is None  # type: ignore[misc]
        ]
        assert [request.request_id for request in found] == could

    @invariant()
    def they_agree(self) -> None:
        assert self.told == self.expected
        for request_id, model in self.models.items():
            request = self.manager.get_request(request_id, tenant_id=model.tenant_id)
            assert self.manager.stored(request_id).approval == model.approval
            assert request.status is model.approval.status(self.now)

    @invariant()
    def each_end_is_told_once(self) -> None:
        ends = [one for one in self.told if one[0] in {"request_approved", "request_rejected", "request_expired"}]
        ended = [request_id for _, request_id in ends]
        assert len(set(ended)) == len(ended)
        assert not any(self.models[request_id].open for request_id in ended)

    def _met(self, request: ApprovalRequest, own: str) -> Model:
        model = self.models[request.request_id]
        if model.tenant_id != own:
            raise missing("request")
        self._catch_up(request.request_id)
        return model

    def _pass(self, tenant_id: str) -> None:
        for request_id, model in self.models.items():
            if model.tenant_id == tenant_id:
                self._catch_up(request_id)

    def _catch_up(self, request_id: str) -> None:
        model = self.models[request_id]
        while model.open and (due := model.approval.next_at()) <= self.now:
            action = model.approval.next_action
            if action is None:
                assert model.approval.status(due) is ApprovalStatus.EXPIRED
                model.open = False
                self.expected.append(("request_expired", request_id))
            else:
                model.approval = model.approval.act(due)
                quiet = action.kind is ActionKind.REMIND
                self.expected.append(("request_action" if quiet else "request_escalated", request_id))

    def _note(self, request: ApprovalRequest, event: str) -> None:
        self.expected.append((event, request.request_id))


def _outcome(attempt: Callable[[], object]) -> str | None:
    """The code of the refusal, or None."""
    try:
        attempt()
    except DomainError as error:
        return error.code
    return None


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
