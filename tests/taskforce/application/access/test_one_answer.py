"""Effect, explanation and dry run of a policy say the same, whoever asks and whatever the tenant's rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskforce.application.access.authorization import require_on
from taskforce.application.access.explanations import explain_access
from taskforce.application.access.policy_documents import AccessCase, NoTags, try_document
from taskforce.application.identity.principals import Actor, load_principal_for_key, resolve_principal
from taskforce.application.runs.tool_checks import ToolCallPolicy
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.api_keys import issue
from taskforce.core.domain.identity.principals import TokenClaims
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.llm import RequestedCall
from tests.taskforce.application.access.policy_shelf import Shelf
from tests.taskforce.application.identity.people import admin
from tests.taskforce.application.scenario import AGENT, RULES, TOOLS, Stage

RUN, CALL = Permission.AGENT_EXECUTE, Permission.TOOL_EXECUTE
NAMES = {ResourceType.AGENT: (AGENT.agent_id, "another"), ResourceType.TOOL: ("echo", "echo_slowly")}
ROLES = st.frozensets(st.sampled_from(["viewer", "operator", "auditor", "agent_designer"]), max_size=2)
ATTRIBUTES = st.sampled_from([{}, {"department": "sales"}, {"department": "finance"}])


@dataclass(frozen=True)
class Credential:
    """With what somebody comes: a token with these roles and attributes, or a key with these roles."""

    roles: frozenset[str] | None = None
    attributes: Mapping[str, object] | None = None
    is_key: bool = False


@dataclass(frozen=True)
class World:
    """A user, their credential, their roles on single resources, and the tenant's rules."""

    claimed: frozenset[str]
    attributes: Mapping[str, object]
    credential: Credential
    grants: Sequence[tuple[str, ResourceType, str, bool]]
    rules: Sequence[Mapping[str, object]] = field(default_factory=list)


def conditions(*, deny: bool) -> st.SearchStrategy[dict[str, object]]:
    operators = st.sampled_from(["equals", "not_equals"] if deny else ["equals"])
    values = {
        "user.department": ["sales", "finance"],
        "context.agent_id": list(NAMES[ResourceType.AGENT]),
        "context.channel": ["run", "api"],
    }
    return st.one_of(
        *(
            st.builds(lambda op, value, name=name: {"attribute": name, op: value}, operators, st.sampled_from(known))
            for name, known in values.items()
        )
    )


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    deny, kind = draw(st.booleans()), draw(st.sampled_from(list(NAMES)))
    actions = draw(st.sampled_from([["tool:execute"], ["agent:execute"], ["tool:execute", "agent:execute"]]))
    rule: dict[str, object] = {"effect": "deny" if deny else "allow", "actions": actions}
    if not deny or draw(st.booleans()):
        rule["resources"] = [{"type": kind.value, "ids": [draw(st.sampled_from(NAMES[kind]))]}]
        # A rule's actions are of its resources' kinds.
        rule["actions"] = [f"{kind.value}:execute"]
    if draw(st.booleans()):
        rule["roles"] = [draw(st.sampled_from(["viewer", "operator", "auditor"]))]
    if draw(st.booleans()):
        rule["when"] = [draw(conditions(deny=deny))]
    return rule


GRANTS = st.lists(
    st.sampled_from([(kind, name) for kind, names in NAMES.items() for name in names]).flatmap(
        lambda one: st.tuples(
            st.sampled_from(["operator", "viewer", "admin"]), st.just(one[0]), st.just(one[1]), st.booleans()
        )
    ),
    max_size=3,
)
CREDENTIALS = st.builds(Credential, st.none() | ROLES, st.none() | ATTRIBUTES) | st.builds(
    Credential, ROLES, is_key=st.just(True)
)
WORLDS = st.builds(World, ROLES, ATTRIBUTES, CREDENTIALS, GRANTS, st.lists(rules(), max_size=3))


class Scene:
    """A world on a stage: asks each of the three."""

    def __init__(self, stage: Stage, world: World, spec: RunSpec, actor: Actor, maker: Actor) -> None:
        self.stage, self.world, self.spec, self.actor, self.maker = stage, world, spec, actor, maker
        self.document = {
            "version": 1,
            "rules": [{"id": f"r{number}", **rule} for number, rule in enumerate(world.rules)],
        }
        self.shelf = Shelf({stage.tenant_id: self.document["rules"]}, now=stage.now)  # type: ignore[dict-item]

    async def calls(self, tool: str) -> bool:
        """Whether a run of the user's calls the tool."""
        policy = ToolCallPolicy(
            TOOLS, self.stage.clock, RULES, self.shelf, prices=self.stage.prices, books=self.stage.books
        )
        call = RequestedCall("call_0", tool, '{"text": "x"}')
        ref = self.stage.ref(self.spec.run_id)
        async with self.stage.database.tenant(self.stage.tenant_id) as records:
            rules = parse(self.document)
            objection = await policy.objection_now(records, self.spec, rules, ref=ref, call=call, request=None)
        return objection is None

    async def starts(self) -> bool:
        """Whether the user may start a run of the agent."""
        try:
            await require_on(
                self.stage.database, self.shelf.engine(), self.actor, RUN, AGENT.agent_id, facts={"channel": "api"}
            )
        except Forbidden:
            return False
        return True

    async def explained(self, permission: Permission, name: str) -> bool:
        found = await explain_access(
            self.stage.database,
            self.shelf.engine(),
            self.actor,
            permission,
            name,
            agent_id=AGENT.agent_id,
            facts={"channel": "api"},
        )
        return found.decision.allowed

    async def tried(self, permission: Permission, name: str) -> bool:
        facts = {"agent_id": AGENT.agent_id} if permission is CALL else {"channel": "api"}
        case = AccessCase(
            permission,
            permission.resource_type,
            name,
            user_id=self.spec.user_id,
            key_id=self.spec.key_id,
            attributes=self.spec.claimed_attributes,
            context=facts,
        )
        (answer,) = await try_document(self.stage.database, self.maker, NoTags(), self.document, [case])
        assert answer.proposed is not None
        return answer.proposed.decision.allowed


async def staged(stage: Stage, world: World, spec: RunSpec, maker: Actor) -> Scene:
    """Makes a new user with what the world says."""
    user_id, credential = f"user-{new_id()}", world.credential
    newest = replace(stage.identity(user_id, *world.claimed), attributes=world.attributes)
    await resolve_principal(stage.database, stage.database, newest, RULES, stage.now)
    claims = None
    if not credential.is_key:
        roles = world.claimed if credential.roles is None else credential.roles
        claims = TokenClaims(roles, world.attributes if credential.attributes is None else credential.attributes)
    async with stage.database.tenant(stage.tenant_id) as records:
        for role, kind, name, over in world.grants:
            grant = ResourceGrant(user_id, role, kind, name, stage.now if over else None)
            await records.roles.grant(grant, "tests", stage.now)
        key_id = None
        if credential.is_key:
            _, key = issue(
                tenant_id=stage.tenant_id,
                user_id=user_id,
                name="k",
                roles=credential.roles or {"viewer"},
                created_by=user_id,
                maker_permissions=frozenset(Permission),
                now=stage.now,
            )
            await records.keys.add(key)
            key_id = key.key_id
        own = await load_principal_for_key(records, user_id, key_id, RULES, stage.now, claims=claims)
    of_user = replace(
        spec,
        user_id=user_id,
        key_id=key_id,
        claimed_roles=None if claims is None else claims.roles,
        claimed_attributes=None if claims is None else claims.attributes,
    )
    return Scene(stage, world, of_user, Actor(own, RULES, None, stage.now), maker)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=WORLDS)
async def test_what_is_explained_and_tried_is_what_happens(stage: Stage, world: World) -> None:
    maker = await admin(stage)
    spec = (await stage.run((await stage.accepted()).run_id)).spec
    scene = await staged(stage, world, spec, maker)
    answers = {
        **{(CALL, tool): await scene.calls(tool) for tool in NAMES[ResourceType.TOOL]},
        (RUN, AGENT.agent_id): await scene.starts(),
    }
    assert {asked: await scene.explained(*asked) for asked in answers} == answers
    # A dry run takes a token's attributes; it is judged by all roles of the user.
    if not scene.actor.principal.is_narrowed:
        assert {asked: await scene.tried(*asked) for asked in answers} == answers
