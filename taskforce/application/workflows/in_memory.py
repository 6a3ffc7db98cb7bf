"""Approval requests in memory, under the rules of `taskforce.core.domain.approvals.approval` (guide 4.2)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from threading import Lock
from typing import Literal, get_args

import structlog

from taskforce.application.approvals.payload_schemas import check_payload
from taskforce.application.workflows.approval import ApprovalAction, ApprovalRequest, ApprovalWorkflow, StoredRequest
from taskforce.core.domain.approvals.approval import Approval, ApprovalStatus, Channel, Decision, Verdict
from taskforce.core.domain.approvals.definitions import Definition, check_known, choose, merged, type_of
from taskforce.core.domain.approvals.terms import ActionKind, Terms
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.ids import missing, new_id
from taskforce.core.interfaces.identity import checked_tenant_id
from taskforce.core.interfaces.tools import ToolFacts

EventName = Literal[
    "request_created",
    "request_action",
    "request_approved",
    "request_rejected",
    "request_expired",
    "request_escalated",
]
Callback = Callable[[ApprovalRequest], object]
RoleLookup = Callable[[str, str], Collection[str] | None]
"""Returns a user's current roles by tenant id and user id; None where there is no such active user."""

_EVENTS: frozenset[str] = frozenset(get_args(EventName))
_ENDS: Mapping[ApprovalStatus, EventName] = {
    ApprovalStatus.APPROVED: "request_approved",
    ApprovalStatus.REJECTED: "request_rejected",
    ApprovalStatus.EXPIRED: "request_expired",
}
_log = structlog.get_logger(__name__)


class WorkflowManager:
    """The approval workflows and requests of a program; thread-safe.

    Methods that depend on the time take `now`. Time never goes back: the latest time that was passed counts, or the
    clock's if it is later. Timed actions that are due by then are performed first; `tick` performs them for requests
    that no call touches. Requests are never removed.

    Args:
        profile: Definitions that every tenant has; a tenant's workflow with the same id replaces one.
        roles: Returns the current roles of an approver. Without it, and without `user_roles` in a call, roles are not
            checked, and the program is responsible for who decides.
        clock: Returns the time, UTC.
    """

    def __init__(
        self,
        *,
        profile: Iterable[Definition] = (),
        roles: RoleLookup | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._profile = tuple(profile)
        self._roles = roles
        self._clock = clock
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._lock = Lock()
        self._workflows: dict[str, dict[str, Definition]] = {}
        self._requests: dict[str, StoredRequest] = {}
        # Dicts of keys alone, for their order: lists show the oldest request first.
        self._open: dict[str, dict[str, None]] = {}
        self._callbacks: dict[str, list[Callback]] = {}

    def register_workflow(self, workflow: ApprovalWorkflow) -> None:
        """Adds a workflow of a tenant, or replaces the one with the same id; open requests keep their terms."""
        with self._lock:
            self._workflows.setdefault(workflow.tenant_id, {})[workflow.workflow_id] = workflow.definition

    def on_event(self, event: EventName, callback: Callback) -> None:
        """Registers a callback for an event; an exception of the callback is logged and has no other effect.

        Args:
            event: `request_created` and `request_action` (each decision and reminder), unless the workflow turns them
                off; `request_escalated` (widened or reassigned); `request_approved`, `request_rejected` and
                `request_expired`.
            callback: Called with the request.

        Raises:
            Invalid: `event_unknown`.
        """
        if event not in _EVENTS:
            raise Invalid("event_unknown", f"There is no such event. Known: {', '.join(sorted(_EVENTS))}.")
        with self._lock:
            self._callbacks.setdefault(event, []).append(callback)

    def create_request(
        self,
        *,
        tenant_id: str,
        request_type: str,
        resource_type: str,
        resource_id: str,
        requester_id: str,
        title: str,
        description: str = "",
        payload: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        tool: str | None = None,
        agent: str | None = None,
        now: datetime | None = None,
    ) -> ApprovalRequest:
        """Creates a request.

        Args:
            tenant_id: The tenant.
            request_type: One of `RequestType`, or the type of a workflow of the tenant.
            resource_type: The type of the resource that it concerns.
            resource_id: The id of the resource.
            requester_id: The requester.
            title: The title, for lists.
            description: The description, for the approvers.
            payload: The content that is approved, JSON-compatible.
            metadata: Its `custom_type` names the type of a `custom` request, as that of a workflow does.
            tool: Of `tool_call`: the tool.
            agent: Of `tool_call`: the agent.
            now: The time; see the class.

        Raises:
            Invalid: `tenant_id_invalid`, `request_type_unknown`, `payload_invalid` or `payload_malformed`.
        """
        meant, asked = type_of(str(request_type), metadata or {}), dict(payload or {})
        definition = self._chosen(checked_tenant_id(tenant_id), meant, tool, agent)
        # Before the lock is taken, for it may take a second.
        check_payload(None if definition is None else definition.payload_schema, asked)
        # A copy: the approval binds to the payload as it is now, and the program may change its own.
        content = deepcopy(asked)
        with self._lock:
            approval = self._opened(requester_id, definition, content, now)
            request_id = approval.request_id
            self._requests[request_id] = StoredRequest(
                tenant_id=tenant_id,
                request_type=meant,
                resource_type=resource_type,
                resource_id=resource_id,
                title=title,
                description=description,
                payload=content,
                approval=approval,
                workflow_id=None if definition is None else definition.definition_id,
                notify_on_action=definition is None or definition.notify_on_action,
            )
            self._open.setdefault(tenant_id, {})[request_id] = None
        if definition is None or definition.notify_on_create:
            self._tell(request_id, "request_created")
        return ApprovalRequest(request_id, self)

    def _chosen(self, tenant_id: str, request_type: str, tool: str | None, agent: str | None) -> Definition | None:
        with self._lock:
            own = tuple(self._workflows.get(tenant_id, {}).values())
        facts, names = None if tool is None else ToolFacts(tool), () if agent is None else (agent,)
        found = choose(merged(own, self._profile), request_type, tool=facts, agent=names)
        check_known(request_type, found)
        return found

    def _opened(
        self, requester_id: str, definition: Definition | None, content: object, now: datetime | None
    ) -> Approval:
        self._latest = at = max(self._latest, now or self._clock())
        terms = Terms() if definition is None else definition.terms
        return Approval(new_id(), requester_id, terms, at, content=canonical_hash(content))

    def get_request(self, request_id: str, *, tenant_id: str | None = None) -> ApprovalRequest:
        """Finds a request.

        Args:
            request_id: The id of the request.
            tenant_id: The tenant; requests of other tenants are not found. None finds those of all tenants.

        Raises:
            Missing: `request_not_found`.
        """
        self._find(request_id, tenant_id)
        return ApprovalRequest(request_id, self)

    def list_pending_for_approver(
        self, tenant_id: str, user_id: str, user_roles: Collection[str], *, now: datetime | None = None
    ) -> list[ApprovalRequest]:
        """Lists the requests that a user may decide now, oldest first.

        Args:
            tenant_id: The tenant.
            user_id: The user.
            user_roles: The user's current roles.
            now: The time; see the class.
        """
        at = self._arrive(now, tenant_id)
        with self._lock:
            found = [one for one in self._open.get(tenant_id, ()) if self._could(one, user_id, user_roles, at)]
        return [ApprovalRequest(request_id, self) for request_id in found]

    def approve_request(
        self,
        request_id: str,
        user_id: str,
        comment: str = "",
        *,
        user_roles: Collection[str] | None = None,
        tenant_id: str | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Records a user's approval.

        Args:
            request_id: The request.
            user_id: The approver.
            comment: The reason.
            user_roles: The approver's current roles; None looks them up, where the manager has a lookup.
            tenant_id: The tenant, as in `get_request`.
            now: The time; see the class.

        Returns:
            True: the decision counts. The request's status tells whether it is approved.

        Raises:
            Missing: `request_not_found`.
            Forbidden: `approver_unknown` or `approver_role_missing`.
            Conflict: `request_closed`, `already_decided`, `self_approval` or `comment_required`.
        """
        return self._decide(
            request_id, user_id, Verdict.APPROVE, comment, user_roles=user_roles, tenant_id=tenant_id, now=now
        )

    def reject_request(
        self,
        request_id: str,
        user_id: str,
        comment: str = "",
        *,
        user_roles: Collection[str] | None = None,
        tenant_id: str | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Records a user's rejection; arguments and errors as those of `approve_request`."""
        return self._decide(
            request_id, user_id, Verdict.REJECT, comment, user_roles=user_roles, tenant_id=tenant_id, now=now
        )

    def withdraw(
        self, request_id: str, user_id: str, *, tenant_id: str | None = None, now: datetime | None = None
    ) -> bool:
        """Withdraws a request of the user's own.

        Raises:
            Missing: `request_not_found`.
            Forbidden: `requester_only`.
            Conflict: `request_closed`.
        """
        at, stored = self._met(request_id, tenant_id, now)
        with self._lock:
            if user_id != stored.approval.requester_id:
                raise Forbidden("requester_only", "Only whoever asked takes a request back.")
            withdrawn = self._requests[request_id].approval.withdraw(at, user_id)
            self._keep(request_id, withdrawn, ApprovalAction("withdraw", user_id, "", at))
        return True

    def tick(self, now: datetime | None = None) -> None:
        """Performs the timed actions that are due: reminders, widening, reassignment and expiry of open requests."""
        # A copy, for callbacks may create requests meanwhile.
        for tenant_id in list(self._open):
            self._arrive(now, tenant_id)

    def stored(self, request_id: str) -> StoredRequest:
        """Returns the current state of a request; see `Book`."""
        return self._requests[request_id]

    def now(self) -> datetime:
        """Returns the time: the later of the clock's and the latest that was passed."""
        return max(self._latest, self._clock())

    def _decide(
        self,
        request_id: str,
        user_id: str,
        verdict: Verdict,
        comment: str,
        *,
        user_roles: Collection[str] | None,
        tenant_id: str | None,
        now: datetime | None,
    ) -> bool:
        at, stored = self._met(request_id, tenant_id, now)
        with self._lock:
            approval = self._requests[request_id].approval
            approval.check(user_id, Channel.API, at)
            self._check_role(stored.tenant_id, approval, user_id, user_roles)
            decided = approval.decide(Decision(user_id, verdict, comment, Channel.API, at))
            self._keep(request_id, decided, ApprovalAction(verdict.value, user_id, comment, at))
        # After the lock is released: callbacks may call the manager, and the lock is not reentrant.
        if stored.notify_on_action:
            self._tell(request_id, "request_action")
        if (end := _ENDS.get(decided.status(at))) is not None:
            self._tell(request_id, end)
        return True

    def _met(self, request_id: str, tenant_id: str | None, now: datetime | None) -> tuple[datetime, StoredRequest]:
        """Performs the due actions of a request, and returns the time and the state from before them."""
        stored = self._find(request_id, tenant_id)
        return self._arrive(now, stored.tenant_id, request_id), stored

    def _find(self, request_id: str, tenant_id: str | None) -> StoredRequest:
        stored = self._requests.get(request_id)
        # A request of another tenant gets the same answer as one that does not exist.
        if stored is None or tenant_id not in {None, stored.tenant_id}:
            raise missing("request")
        return stored

    def _arrive(self, now: datetime | None, tenant_id: str, only: str | None = None) -> datetime:
        """Performs the due actions of a tenant's open requests, or of one of them, and returns the time."""
        with self._lock:
            self._latest = at = max(self._latest, now or self._clock())
            waiting = list(self._open.get(tenant_id, ())) if only is None else [only]
        for request_id in waiting:
            while (events := self._next_due(request_id, at)) is not None:
                self._tell(request_id, *events)
        return at

    def _next_due(self, request_id: str, at: datetime) -> list[EventName] | None:
        """Performs the next due action of a request, and returns its events; None where none is due."""
        with self._lock:
            stored = self._requests[request_id]
            due, action = stored.approval.next_at(), stored.approval.next_action
            if due > at or request_id not in self._open.get(stored.tenant_id, ()):
                return None
            if action is None:
                self._keep(
                    request_id, stored.approval, ApprovalAction("expire", None, stored.approval.reason(due), due)
                )
                return ["request_expired"]
            done = ApprovalAction(action.kind.value, None, str(action.to), due)
            self._keep(request_id, stored.approval.act(due), done)
        if action.kind is ActionKind.REMIND:
            return ["request_action"] if stored.notify_on_action else []
        return ["request_escalated"]

    def _keep(self, request_id: str, approval: Approval, action: ApprovalAction) -> Approval:
        stored = self._requests[request_id] = self._requests[request_id].after(approval, action)
        if approval.status(action.at) is not ApprovalStatus.PENDING:
            self._open[stored.tenant_id].pop(request_id, None)
        return approval

    def _could(self, request_id: str, user_id: str, roles: Collection[str], at: datetime) -> bool:
        approval = self._requests[request_id].approval
        try:
            approval.check(user_id, Channel.API, at)
        except Conflict:
            return False
        return approval.who.include(user_id, roles)

    def _check_role(self, tenant_id: str, approval: Approval, user_id: str, roles: Collection[str] | None) -> None:
        if roles is None and self._roles is not None:
            roles = self._roles(tenant_id, user_id)
            if roles is None:
                raise Forbidden("approver_unknown", "No active user of that id is known in this tenant.")
        # Without a lookup the program vouches for roles; where only people are named, these are compared all the same.
        vouched = roles is None and bool(approval.who.roles)
        if not vouched and not approval.who.include(user_id, roles or ()):
            raise Forbidden("approver_role_missing", f"Deciding this request is for: {approval.who}.")

    def _tell(self, request_id: str, *events: EventName) -> None:
        for event in events:
            # A copy, for a callback may register others.
            for callback in tuple(self._callbacks.get(event, ())):
                try:
                    callback(ApprovalRequest(request_id, self))
                except Exception:  # noqa: BLE001 - a callback's error must not undo a recorded decision
                    _log.exception("approval.callback_failed", event_name=event, request_id=request_id)
