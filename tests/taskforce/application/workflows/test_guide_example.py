"""Catalog and approvals in a program of one's own: the blocks of the guide's 4.1, 4.2 and 9.3, run together."""

from datetime import UTC, datetime, timedelta

import pytest

from taskforce.application.catalog import AgentCatalog, CatalogEntry, CatalogVersion, VersionStatus
from taskforce.application.workflows import ApprovalStatus, WorkflowManager
from taskforce.application.workflows.approval import ApprovalRequest, ApprovalWorkflow, RequestType

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


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


def make(catalog: AgentCatalog) -> CatalogEntry:
    return catalog.create_agent(
        tenant_id="acme-corp",
        name="Customer Support Agent",
        description="Handles customer inquiries via email and chat",
        category="support",
        tags={"production", "nlp", "customer-facing"},
        owner_id="alice",
        initial_definition={
            "tools": ["semantic_search", "send_email"],
            "system_prompt": "You are a helpful customer support agent for Acme Corp.",
            "max_iterations": 10,
            "temperature": 0.7,
        },
    )


def enhance(catalog: AgentCatalog, entry: CatalogEntry) -> CatalogVersion:
    return catalog.create_version(
        agent_id=entry.agent_id,
        version_number="1.0.0",
        definition={
            "tools": ["semantic_search", "send_email", "create_ticket"],
            "system_prompt": """You are a helpful customer support agent for Acme Corp.

When you cannot resolve an issue directly, create a support ticket for escalation.
Always cite sources when referencing documentation.""",
            "max_iterations": 15,
            "temperature": 0.5,
            "rag_config": {"index": "support-docs", "max_results": 5},
        },
        created_by="alice",
        changelog="Added ticket creation capability and improved RAG integration",
    )


def ask(manager: WorkflowManager, entry: CatalogEntry, new_version: CatalogVersion) -> ApprovalRequest:
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
    catalog, show = AgentCatalog(clock=lambda: NOW), Printed()

    # Create a new agent in the catalog, and version 1.0.0 with enhanced capabilities
    entry = make(catalog)
    show(f"Agent created: {entry.name}")
    show(f"Agent ID: {entry.agent_id}")
    show(f"Initial version: {entry.versions[0].version_number}")
    new_version = enhance(catalog, entry)
    show(f"Version created: {new_version.version_number}")
    show(f"Status: {new_version.status.value}")
    show(f"Config hash: {new_version.config_hash}")

    # Search by category, by tags (any match), and across name, description and tags
    assert catalog.list_agents(tenant_id="acme-corp", category="support") == [entry]
    assert catalog.list_agents(tenant_id="acme-corp", tags={"nlp", "natural-language"}) == [entry]

    def search() -> None:
        for agent in catalog.search_agents(tenant_id="acme-corp", query="customer support", limit=10):
            current = agent.get_current_version()
            show(f"  {agent.name} v{current.version_number if current else 'N/A'}")
            show(f"    Category: {agent.category}")

    search()
    register(manager)

    # Step 1: Submit version for approval
    catalog.submit_for_approval(entry.agent_id, new_version.version_id)
    show(f"Submitted: {new_version.status.value}")

    # Step 2: Create approval request
    request = ask(manager, entry, new_version)
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
    search()

    assert show == [
        "Agent created: Customer Support Agent",
        f"Agent ID: {entry.agent_id}",
        "Initial version: 0.1.0",
        "Version created: 1.0.0",
        "Status: draft",
        f"Config hash: {new_version.config_hash}",
        "  Customer Support Agent vN/A",
        "    Category: support",
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
        "  Customer Support Agent v1.0.0",
        "    Category: support",
    ]
    assert request.status is ApprovalStatus.APPROVED
    assert request.expires_at == NOW + timedelta(hours=48)


def test_the_callbacks_of_the_guide(manager: WorkflowManager) -> None:
    catalog, slack, mail = AgentCatalog(clock=lambda: NOW), Printed(), Printed()
    entry = make(catalog)
    first, second = entry.versions[0], enhance(catalog, entry)
    for version in (first, second):
        catalog.submit_for_approval(entry.agent_id, version.version_id)

    def notify_slack(channel: str, message: str) -> None:
        slack(f"{channel}: {message}")

    def notify_email(to: str, subject: str, body: str) -> None:
        mail(f"{to}: {subject}: {body}")

    def on_request_approved(request: ApprovalRequest) -> None:
        """Called when a request is fully approved."""
        # Automatically publish the approved version
        if request.request_type == RequestType.AGENT_PUBLISH:
            version_id = str(request.payload.get("version_id"))
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
    wanted, unwanted = ask(manager, entry, second), ask(manager, entry, first)
    manager.approve_request(wanted.request_id, "bob")
    assert (slack, second.status) == ([], VersionStatus.PENDING_APPROVAL)
    manager.approve_request(wanted.request_id, "carol")
    manager.reject_request(unwanted.request_id, "bob", comment="Not before the audit")

    assert (second.status, first.status) == (VersionStatus.PUBLISHED, VersionStatus.PENDING_APPROVAL)
    assert slack == [f"#agent-releases: Agent {entry.agent_id} has been approved and published!"]
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
