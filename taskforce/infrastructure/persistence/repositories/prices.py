"""Repository of tenants' prices in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.prices import PriceRow
from taskforce.core.domain.metering.prices import Resource, Unit
from taskforce.core.domain.metering.tenant_prices import Amounts, TenantPrice
from taskforce.core.interfaces.repositories.prices import PriceFilter
from taskforce.infrastructure.persistence.connection import Query, Row
from taskforce.infrastructure.persistence.repository import Codec, Repository, storable, table, where

_PRICES = table(PriceRow)
_AMOUNTS = Codec(Amounts)
_AT = sa.bindparam("at", type_=_PRICES.c.valid_from.type)
_NOT_ENDED = sa.or_(_PRICES.c.valid_until.is_(None), _PRICES.c.valid_until > _AT)
_PLACE = (_PRICES.c.resource, _PRICES.c.name, _PRICES.c.price_id)
_ADD = Query(insert(_PRICES))
_GET = Query(sa.select(_PRICES).where(where(_PRICES, "price_id")))
_OF = Query(sa.select(_PRICES).where(where(_PRICES, "resource", "name")).order_by(_PRICES.c.valid_from))
_COUNT = Query(sa.select(sa.func.count()).select_from(_PRICES).where(where(_PRICES)))
_IN_FORCE_SINCE = Query(sa.select(_PRICES).where(where(_PRICES), _NOT_ENDED).order_by(*_PLACE))
_END = Query(sa.update(_PRICES).where(where(_PRICES, "price_id")), sets=("valid_until",))
_REMOVE = Query(sa.delete(_PRICES).where(where(_PRICES, "price_id")))


class PriceRepository(Repository):
    """Stores a tenant's prices; fulfils `Prices`."""

    async def add(self, price: TenantPrice) -> None:
        """Adds a price."""
        values = {
            "tenant_id": self._tenant_id,
            "price_id": price.price_id,
            "resource": price.resource.value,
            "name": storable(price.name),
            "currency": price.currency,
            "unit": price.unit.value,
            "amounts": _AMOUNTS.dump(price.amounts),
            "valid_from": price.valid_from,
            "valid_until": price.valid_until,
            "notes": storable(price.notes),
            "created_by": price.created_by,
            "created_at": price.created_at,
        }
        await self._connection.change(_ADD, values)

    async def get(self, price_id: str) -> TenantPrice | None:
        """Returns a price; None without one."""
        row = await self._connection.first(_GET, self._of(price_id=price_id))
        return None if row is None else _price(row)

    async def of(self, resource: Resource, name: str) -> Sequence[TenantPrice]:
        """Returns all prices of one thing, by the time from which they are in force."""
        values = self._of(resource=resource.value, name=storable(name))
        return [_price(row) for row in await self._connection.all(_OF, values)]

    async def count(self) -> int:
        """Returns how many prices the tenant has."""
        return int(await self._connection.value(_COUNT, self._of()))

    async def page(self, which: PriceFilter, after: tuple[str, str, str] | None, most: int) -> Sequence[TenantPrice]:
        """Returns a page of prices by resource, name and id."""
        query = sa.select(_PRICES).where(_PRICES.c.tenant_id == self._tenant_id).order_by(*_PLACE).limit(most)
        if which.resource is not None:
            query = query.where(_PRICES.c.resource == which.resource.value)
        if which.name is not None:
            query = query.where(_PRICES.c.name == storable(which.name))
        if which.at is not None:
            ended = sa.or_(_PRICES.c.valid_until.is_(None), _PRICES.c.valid_until > which.at)
            query = query.where(_PRICES.c.valid_from <= which.at, ended)
        if after is not None:
            resource, name, price_id = after
            kinds = (sa.literal(resource), sa.literal(storable(name)), sa.literal(price_id, _PRICES.c.price_id.type))
            query = query.where(sa.tuple_(*_PLACE) > sa.tuple_(*kinds))
        return [_price(row) for row in await self._listed(query)]

    async def in_force_since(self, at: datetime) -> Sequence[TenantPrice]:
        """Returns the prices that are in force at a time or later."""
        rows = await self._connection.all(_IN_FORCE_SINCE, {**self._of(), "at": at})
        return [_price(row) for row in rows]

    async def end(self, price_id: str, at: datetime) -> None:
        """Gives a price an end."""
        await self._connection.change(_END, {**self._of(price_id=price_id), "valid_until": at})

    async def remove(self, price_id: str) -> bool:
        """Removes a price; False when there was none."""
        return await self._connection.change(_REMOVE, self._of(price_id=price_id)) > 0


def _price(row: Row) -> TenantPrice:
    return TenantPrice(
        price_id=row.price_id,
        resource=Resource(row.resource),
        name=row.name,
        currency=row.currency,
        unit=Unit(row.unit),
        amounts=_AMOUNTS.load(row.amounts),
        valid_from=row.valid_from,
        created_by=row.created_by,
        created_at=row.created_at,
        valid_until=row.valid_until,
        notes=row.notes,
    )
