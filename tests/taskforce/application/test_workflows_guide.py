"""Approvals in a program that embeds the library: the blocks of the guide's 4.2 and 9.3, run together.

TO BE SWAPPED: `RecordedCatalog` stands in for `taskforce.application.catalog.AgentCatalog` (guide 4.1) and does no
more than write down what the blocks ask of a catalog. Where that class is there, make the agent and its version with
it as 4.1 shows, take `catalog`, `entry` and `new_version` from there, and drop `RecordedCatalog` and its `asked`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest

from taskforce.application.workflows import ApprovalStatus, WorkflowManager
from taskforce.application.workflows.approval import ApprovalRequest, ApprovalWorkflow, RequestType

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


class VersionStatus(StrEnum):
    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    PUBLISHED = "published"


@dataclass
class RecordedVersion:
    version_id: str = "version-1"
    version_number: str = "1.0.0"
    changelog: str = "Added ticket creation capability and improved RAG integration"
    status: VersionStatus = VersionStatus.DRAFT


@dataclass
class RecordedEntry:
    agent_id: str = "agent-1"
    current_version: str | None = None


@dataclass
class RecordedCatalog:
    """Stands in for the catalog; see above."""

    entry: RecordedEntry = field(default_factory=RecordedEntry)
    version: RecordedVersion = field(default_factory=RecordedVersion)
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def submit_for_approval(self, agent_id: str, version_id: str) -> None:
        self.asked.append(("submit", agent_id, version_id))
        self.version.status = VersionStatus.PENDING_APPROVAL

    def approve_version(self, agent_id: str, version_id: object, approved_by: str) -> None:
        self.asked.append(("approve", agent_id, version_id, approved_by))
        self.version.status = VersionStatus.APPROVED

    def publish_version(self, agent_id: str, version_id: object) -> None:
        self.asked.append(("publish", agent_id, version_id))
        self.version.status = VersionStatus.PUBLISHED
        self.entry.current_version = self.version.version_number


class Printed(list[str]):
    """What the blocks print."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def manager() -> WorkflowManager:
    return WorkflowManager(clock=lambda: NOW)


def register(manager: WorkflowManager) -> None:
    strict_workflow = ApprovalWorkflow(
        workflow_id="strict-publish",
        tenant_id="acme-corp",
        name="Strict Agent Publishing",
        description="Requires 2 approvers for production agents",
        request_type=RequestType.AGENT_PUBLISH,
        required_approvers=2,
        allowed_approver_roles={"admin", "agent_designer"},
        auto_expire_hours=48,
        notify_on_create=True,
        notify_on_action=True,
    )
    manager.register_workflow(strict_workflow)


def ask(manager: WorkflowManager, catalog: RecordedCatalog) -> ApprovalRequest:
    entry, new_version = catalog.entry, catalog.version
    return manager.create_request(
        tenant_id="acme-corp",
        request_type=RequestType.AGENT_PUBLISH,
        resource_type="agent",
        resource_id=entry.agent_id,
        requester_id="alice",
        title="Publish Customer Support Agent v1.0.0",
        description="Ready for production deployment after QA testing",
        payload={
            "version_id": new_version.version_id,
            "version_number": new_version.version_number,
            "changelog": new_version.changelog,
        },
    )


def test_the_complete_workflow_of_the_guide_prints_what_it_says(manager: WorkflowManager) -> None:
    catalog, show = RecordedCatalog(), Printed()
    entry, new_version = catalog.entry, catalog.version
    register(manager)

    # Step 1: Submit version for approval
    catalog.submit_for_approval(entry.agent_id, new_version.version_id)
    show(f"Submitted: {new_version.status.value}")

    # Step 2: Create approval request
    request = ask(manager, catalog)
    show(f"Request ID: {request.request_id[:8]}...")
    show(f"Status: {request.status.value}")
    show(f"Expires: {request.expires_at}")
    show(f"Required approvers: {request.required_approvers}")

    # Step 3: Approver reviews pending requests
    pending = manager.list_pending_for_approver(
        tenant_id="acme-corp", user_id="bob", user_roles={"admin", "agent_designer"}
    )
    show(f"Pending requests for Bob: {len(pending)}")
    for req in pending:
        show(f"  - {req.title} (by {req.requester_id})")

    # Step 4: First approval
    result = manager.approve_request(
        request_id=request.request_id, user_id="bob", comment="Reviewed and tested - looks good!"
    )
    show(f"Approved by Bob: {result}")
    show(f"Current approvers: {request.current_approvers}")
    show(f"Status: {request.status.value}")

    # Step 5: Second approval completes the request
    result = manager.approve_request(
        request_id=request.request_id, user_id="carol", comment="LGTM - approved for production"
    )
    show(f"Approved by Carol: {result}")
    show(f"Status: {request.status.value}")

    # Step 6: Complete the approval in the catalog
    catalog.approve_version(entry.agent_id, new_version.version_id, approved_by="carol")
    catalog.publish_version(entry.agent_id, new_version.version_id)
    show(f"Final status: {new_version.status.value}")
    show(f"Current version: {entry.current_version}")

    assert show == [
        "Submitted: pending_approval",
        f"Request ID: {request.request_id[:8]}...",
        "Status: pending",
        "Expires: 2026-01-17 12:00:00+00:00",
        "Required approvers: 2",
        "Pending requests for Bob: 1",
        "  - Publish Customer Support Agent v1.0.0 (by alice)",
        "Approved by Bob: True",
        "Current approvers: {'bob'}",
        "Status: pending",
        "Approved by Carol: True",
        "Status: approved",
        "Final status: published",
        "Current version: 1.0.0",
    ]
    assert request.status is ApprovalStatus.APPROVED
    assert request.expires_at == NOW + timedelta(hours=48)


def test_the_callbacks_of_the_guide(manager: WorkflowManager) -> None:
    catalog, slack, mail = RecordedCatalog(), Printed(), Printed()

    def notify_slack(channel: str, message: str) -> None:
        slack(f"{channel}: {message}")

    def notify_email(to: str, subject: str, body: str) -> None:
        mail(f"{to}: {subject}: {body}")

    def on_request_approved(request: ApprovalRequest) -> None:
        """Called when a request is fully approved."""
        # Automatically publish the approved version
        if request.request_type == RequestType.AGENT_PUBLISH:
            version_id = request.payload.get("version_id")
            catalog.approve_version(request.resource_id, version_id, approved_by="system")
            catalog.publish_version(request.resource_id, version_id)

        # Send notification
        notify_slack(
            channel="#agent-releases",
            message=f"Agent {request.resource_id} has been approved and published!",
        )

    def on_request_rejected(request: ApprovalRequest) -> None:
        """Called when a request is rejected."""
        notify_email(
            to=request.requester_id,
            subject=f"Request Rejected: {request.title}",
            body=f"Your request was rejected. Reason: {request.actions[-1].comment}",
        )

    manager.on_event("request_approved", on_request_approved)
    manager.on_event("request_rejected", on_request_rejected)

    register(manager)
    wanted, unwanted = ask(manager, catalog), ask(manager, catalog)
    manager.approve_request(wanted.request_id, "bob")
    assert (slack, catalog.asked) == ([], [])
    manager.approve_request(wanted.request_id, "carol")
    manager.reject_request(unwanted.request_id, "bob", comment="Not before the audit")

    assert catalog.asked == [("approve", "agent-1", "version-1", "system"), ("publish", "agent-1", "version-1")]
    assert slack == ["#agent-releases: Agent agent-1 has been approved and published!"]
    subject = "Request Rejected: Publish Customer Support Agent v1.0.0"
    assert mail == [f"alice: {subject}: Your request was rejected. Reason: Not before the audit"]


class CustomRequestType(RequestType):
    """Create a custom request type (guide 9.3)."""

    AGENT_PUBLISH = "agent_publish"
    DATA_EXPORT = "data_export"
    PERMISSION_ESCALATION = "permission_escalation"


def test_the_custom_workflow_of_the_guide(manager: WorkflowManager) -> None:
    data_export_workflow = ApprovalWorkflow(
        workflow_id="data-export-approval",
        tenant_id="acme-corp",
        name="Data Export Approval",
        description="Requires legal and security approval for data exports",
        request_type=RequestType.CUSTOM,
        required_approvers=2,
        allowed_approver_roles={"legal_counsel", "security_admin"},
        auto_expire_hours=24,
        metadata={"custom_type": "data_export"},
    )
    manager.register_workflow(data_export_workflow)

    def export(request_type: str, **metadata: str) -> ApprovalRequest:
        return manager.create_request(
            tenant_id="acme-corp",
            request_type=request_type,
            resource_type="dataset",
            resource_id="customers",
            requester_id="alice",
            title="Export customers",
            metadata=metadata,
        )

    for request in (
        export(CustomRequestType.DATA_EXPORT),
        export(CustomRequestType("data_export")),
        export(RequestType.CUSTOM, custom_type="data_export"),
    ):
        assert (request.workflow_id, request.required_approvers) == ("data-export-approval", 2)
        assert request.expires_at == NOW + timedelta(hours=24)
        assert request.request_type == CustomRequestType.DATA_EXPORT
        assert request in manager.list_pending_for_approver("acme-corp", "lea", {"legal_counsel"})
    assert manager.list_pending_for_approver("acme-corp", "ada", {"admin"}) == []
