"""Statements for lists of agents: plain ones, and full-text search."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY

from models.tables.agents import AgentRow
from taskforce.core.domain.catalog.agent import Description
from taskforce.core.domain.catalog.search import WEIGHTS, index_of, query_tokens, stem
from taskforce.core.domain.paging import Page
from taskforce.core.interfaces.repositories.catalog import AgentFilter
from taskforce.infrastructure.persistence.repository import newest, storable, table

_AGENTS = table(AgentRow)
_LISTED = (
    "agent_id", "slug", "name", "description", "category", "tags", "owner_id", "current_number", "latest_number",
    "latest_status", "revision", "created_at", "updated_at",
)  # fmt: skip
_SHOWN = [_AGENTS.c[name] for name in _LISTED]
_RANK = "rank"


def places_of(about: Description) -> str:
    """Builds the `tsvector` of an agent; its words hold no quote, so that none has to be escaped."""
    return " ".join(f"'{token}':1{weight}" for token, weight in index_of(about))


def listing(tenant_id: str, which: AgentFilter, page: Page) -> sa.Select[tuple[object, ...]]:
    """Builds the statement of a page of agents, newest first."""
    query = sa.select(*_SHOWN).where(*_conditions(tenant_id, which))
    return newest(query, _AGENTS.c.created_at, _AGENTS.c.agent_id, page)


def searching(
    tenant_id: str, which: AgentFilter, question: str, most: int, after: tuple[float, str] | None
) -> sa.Select[tuple[object, ...]] | None:
    """Builds the statement of agents that match a query, the best first; None for a query without words."""
    asked = query_tokens(question)
    if not asked:
        return None
    every = _query(" & ".join(_beginnings(token) for token in asked))
    answering = (*_conditions(tenant_id, which), _AGENTS.c.search.op("@@")(every))
    found = sa.select(*_SHOWN, _ranked(asked).label(_RANK)).where(*answering).subquery()
    query = sa.select(found)
    if after is not None:
        place = sa.tuple_(sa.literal(after[0], sa.Double), sa.literal(after[1], found.c.agent_id.type))
        query = query.where(sa.tuple_(found.c[_RANK], found.c.agent_id) < place)
    return query.order_by(found.c[_RANK].desc(), found.c.agent_id.desc()).limit(most)


def _conditions(tenant_id: str, which: AgentFilter) -> Sequence[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [_AGENTS.c.tenant_id == tenant_id]
    if which.category is not None:
        found.append(_AGENTS.c.category == storable(which.category))
    if which.owner_id is not None:
        found.append(_AGENTS.c.owner_id == storable(which.owner_id))
    if which.tags:
        found.append(_AGENTS.c.tags.op("&&")(_texts(sorted(map(storable, which.tags)))))
    if which.status is not None:
        found.append(_AGENTS.c.statuses.op("@>")(_texts([which.status.value])))
    return found


def _texts(values: list[str]) -> sa.ColumnElement[object]:
    return sa.cast(values, ARRAY(sa.Text))


def _query(text: str) -> sa.ColumnElement[object]:
    return sa.literal(text, TSQUERY)


def _beginnings(token: str, weight: str = "") -> str:
    """Builds the `tsquery` term of words that begin with a word, or with its singular."""
    # Tokens are letters and digits only, so that no quote or operator of `tsquery` has to be escaped.
    either = dict.fromkeys((token, stem(token)))
    return "(" + " | ".join(f"'{one}':*{weight}" for one in either) + ")"


def _ranked(terms: Sequence[str]) -> sa.ColumnElement[float]:
    """Ranks as `taskforce.core.domain.catalog.search.rank` does: sums each word's weight at its best place."""
    best, next_best, least = WEIGHTS
    total: sa.ColumnElement[float] = sa.literal(0.0, sa.Double)
    for token in terms:
        in_name = (_AGENTS.c.search.op("@@")(_query(_beginnings(token, best))), WEIGHTS[best])
        in_tag = (_AGENTS.c.search.op("@@")(_query(_beginnings(token, next_best))), WEIGHTS[next_best])
        total = total + sa.cast(sa.case(in_name, in_tag, else_=WEIGHTS[least]), sa.Double)
    return total
