"""The catalog of a program that embeds the library, first as the guide shows it (4.1, 4.2, 11.1)."""

import re

import pytest

from taskforce.application.catalog import AgentCatalog, CatalogEntry, VersionStatus
from taskforce.core.domain.catalog.definition import Offered
from taskforce.core.domain.errors import Conflict, DomainError
from tests.fixtures.agents import GOOD

# As the guide shows it

CREATING = """
entry = catalog.create_agent(
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
        "temperature": 0.7
    }
)

print(f"Agent created: {entry.name}")
print(f"Agent ID: {entry.agent_id}")
print(f"Initial version: {entry.versions[0].version_number}")  # 0.1.0 (DRAFT)
"""
VERSIONING = '''
new_version = catalog.create_version(
    agent_id=entry.agent_id,
    version_number="1.0.0",
    definition={
        "tools": ["semantic_search", "send_email", "create_ticket"],
        "system_prompt": """You are a helpful customer support agent for Acme Corp.

When you cannot resolve an issue directly, create a support ticket for escalation.
Always cite sources when referencing documentation.""",
        "max_iterations": 15,
        "temperature": 0.5,
        "rag_config": {
            "index": "support-docs",
            "max_results": 5
        }
    },
    created_by="alice",
    changelog="Added ticket creation capability and improved RAG integration"
)

print(f"Version created: {new_version.version_number}")
print(f"Status: {new_version.status.value}")  # draft
print(f"Config hash: {new_version.config_hash}")  # Used for change detection
'''
FINDING = """
support_agents = catalog.list_agents(
    tenant_id="acme-corp",
    category="support"
)

# Search by tags (any match)
nlp_agents = catalog.list_agents(
    tenant_id="acme-corp",
    tags={"nlp", "natural-language"}
)

# Full-text search across name, description, and tags
results = catalog.search_agents(
    tenant_id="acme-corp",
    query="customer support",
    limit=10
)

for agent in results:
    current = agent.get_current_version()
    print(f"  {agent.name} v{current.version_number if current else 'N/A'}")
    print(f"    Category: {agent.category}")
    print(f"    Tags: {', '.join(agent.tags)}")
"""
SUBMITTING = """
catalog.submit_for_approval(entry.agent_id, new_version.version_id)
print(f"Submitted: {new_version.status.value}")  # pending_approval
"""
PUBLISHING = """
catalog.approve_version(entry.agent_id, new_version.version_id, approved_by="carol")
catalog.publish_version(entry.agent_id, new_version.version_id)

print(f"Final status: {new_version.status.value}")  # published
print(f"Current version: {entry.current_version}")
"""
TIERS = """
premium_agent = catalog.create_agent(
    tenant_id="enterprise-customer-a",
    name="Premium Support Agent",
    category="support",
    tags={"tier:premium", "refunds", "escalation"},
    initial_definition={
        "tools": ["semantic_search", "create_ticket", "escalate_ticket", "process_refund"],
        "rag_indexes": ["full-knowledge-base"],
        "system_prompt": "Premium support with full capabilities...",
        "refund_limit": 500
    }
)

standard_agent = catalog.create_agent(
    tenant_id="standard-customer-b",
    name="Standard Support Agent",
    category="support",
    tags={"tier:standard"},
    initial_definition={
        "tools": ["semantic_search", "create_ticket"],
        "rag_indexes": ["faq-only"],
        "system_prompt": "Standard support for common inquiries..."
    }
)
"""
Names = dict[str, object]


@pytest.fixture
def guide() -> Names:
    names: Names = {}
    exec("from taskforce.application.catalog import AgentCatalog, VersionStatus\ncatalog = AgentCatalog()", names)
    return names


def run(capsys: pytest.CaptureFixture[str], names: Names, *blocks: str) -> list[str]:
    """Runs blocks of the guide; returns what they print."""
    capsys.readouterr()
    for block in blocks:
        exec(block, names)
    return capsys.readouterr().out.splitlines()


def entry_of(names: Names, name: str = "entry") -> CatalogEntry:
    entry = names[name]
    assert isinstance(entry, CatalogEntry)
    return entry


def test_creating_an_agent(guide: Names, capsys: pytest.CaptureFixture[str]) -> None:
    name, agent_id, version = run(capsys, guide, CREATING)
    assert name == "Agent created: Customer Support Agent"
    assert re.fullmatch(r"Agent ID: [0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", agent_id)
    assert version == "Initial version: 0.1.0"
    entry = entry_of(guide)
    assert (entry.slug, entry.owner_id, entry.tenant_id) == ("customer-support-agent", "alice", "acme-corp")
    assert entry.versions[0].status is VersionStatus.DRAFT


def test_creating_a_version(guide: Names, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, guide, CREATING)
    version, status, config_hash = run(capsys, guide, VERSIONING)
    assert (version, status) == ("Version created: 1.0.0", "Status: draft")
    assert re.fullmatch(r"Config hash: [0-9a-f]{64}", config_hash)
    first, second = entry_of(guide).versions
    assert first.config_hash != second.config_hash
    assert (second.changelog, second.created_by) == (
        "Added ticket creation capability and improved RAG integration", "alice",
    )  # fmt: skip
    assert second.definition["rag_config"] == {"index": "support-docs", "max_results": 5}


def test_finding_agents(guide: Names, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, guide, CREATING, VERSIONING, FINDING)[6:]
    assert first[:2] == ["  Customer Support Agent vN/A", "    Category: support"]
    assert set(first[2].removeprefix("    Tags: ").split(", ")) == {"production", "nlp", "customer-facing"}
    entry = entry_of(guide)
    assert guide["support_agents"] == guide["nlp_agents"] == guide["results"] == [entry]
    assert run(capsys, guide, SUBMITTING, PUBLISHING, FINDING)[3] == "  Customer Support Agent v1.0.0"


def test_from_a_draft_to_a_published_version(guide: Names, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, guide, CREATING, VERSIONING)
    assert run(capsys, guide, SUBMITTING) == ["Submitted: pending_approval"]
    assert run(capsys, guide, PUBLISHING) == ["Final status: published", "Current version: 1.0.0"]
    current = entry_of(guide).get_current_version()
    assert current == guide["new_version"]
    assert current is not None
    assert [(one.now.value, one.by) for one in current.transitions] == [
        ("pending_approval", "system"), ("approved", "carol"), ("published", "system"),
    ]  # fmt: skip


def test_agents_of_several_tiers(guide: Names, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, guide, TIERS) == []
    premium = entry_of(guide, "premium_agent")
    assert premium.versions[0].definition["refund_limit"] == 500
    catalog = guide["catalog"]
    assert isinstance(catalog, AgentCatalog)
    assert catalog.list_agents("enterprise-customer-a", tags={"tier:premium"}) == [premium]
    assert catalog.search_agents("standard-customer-b", "premium") == []


# What the guide does not show


def test_what_a_program_holds_is_what_is_there_now() -> None:
    catalog = AgentCatalog()
    entry = catalog.create_agent("acme", "Counter", initial_definition=GOOD)
    version = entry.versions[0]
    catalog.revise_version(entry.agent_id, version.version_id, changelog="New.", version_number="0.2.0")
    assert (version.version_number, version.changelog) == ("0.2.0", "New.")
    assert entry.get_current_version() is None
    assert {entry, catalog.get_agent(entry.agent_id)} == {entry}
    assert {version, entry.versions[0]} == {version}
    catalog.remove_agent(entry.agent_id)
    with pytest.raises(DomainError) as refused:
        _ = entry.name
    assert refused.value.code == "agent_not_found"


def test_what_a_program_changes_afterwards_changes_nothing_here() -> None:
    definition: dict[str, object] = {"tools": ["a"], "system_prompt": "x"}
    catalog = AgentCatalog()
    entry = catalog.create_agent("acme", "Counter", initial_definition=definition)
    definition["tools"] = ["b"]
    assert entry.versions[0].definition["tools"] == ["a"]
    got = entry.versions[0].definition
    assert isinstance(got, dict)
    got["system_prompt"] = "y"
    got["tools"].append("c")
    assert entry.versions[0].definition == {"tools": ["a"], "system_prompt": "x"}


def test_a_version_drains_where_a_program_says_so_and_a_limit_is_no_negative_one() -> None:
    catalog = AgentCatalog()
    entry = catalog.create_agent("acme", "Counter", initial_definition=GOOD)
    catalog.submit_for_approval(entry.agent_id, "0.1.0")
    catalog.approve_version(entry.agent_id, "0.1.0", "bob")
    catalog.publish_version(entry.agent_id, "0.1.0")
    catalog.deprecate_version(entry.agent_id, "0.1.0", draining=True, release=True)
    assert catalog.agent(entry.agent_id).version("0.1.0").draining
    assert catalog.search_agents("acme", "counter", limit=0) == []
    with pytest.raises(DomainError) as refused:
        catalog.search_agents("acme", "counter", limit=-1)
    assert refused.value.code == "limit_invalid"


def test_a_catalog_that_knows_its_tools_refuses_others() -> None:
    catalog = AgentCatalog(Offered(frozenset({"calculator"}), model=lambda model: model == "a/b"))
    entry = catalog.create_agent("acme", "Counter", initial_definition={**GOOD, "tools": ["x"], "model": "c/d"})
    assert [one.path for one in entry.versions[0].problems] == ["tools[0]", "model"]
    with pytest.raises(Conflict) as refused:
        catalog.submit_for_approval(entry.agent_id, "0.1.0")
    assert refused.value.code == "definition_has_problems"
    catalog.revise_version(entry.agent_id, "0.1.0", definition={**GOOD, "model": "a/b"})
    assert catalog.submit_for_approval(entry.agent_id, "0.1.0").status is VersionStatus.PENDING_APPROVAL


def test_slugs_and_limits_hold_within_a_tenant() -> None:
    catalog = AgentCatalog(max_agents=1)
    catalog.create_agent("acme", "Counter")
    catalog.create_agent("other", "Counter")
    with pytest.raises(Conflict) as refused:
        catalog.create_agent("acme", "Second")
    assert refused.value.code == "agents_limit_reached"
    unlimited = AgentCatalog()
    unlimited.create_agent("acme", "Counter")
    with pytest.raises(Conflict) as refused:
        unlimited.create_agent("acme", "Counter!")
    assert refused.value.code == "slug_taken"
