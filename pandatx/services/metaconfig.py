"""Settings of the site for those who ask, from what is known anyway (rule R13): the database is not asked."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThread

from pandatx.domain.shares import ResourceTypeRow
from pandatx.domain.site_specs import specs
from pandatx.services.facts import Facts


@frozen
class Metaconfig:
    """What is known of users, queues and resource types, at most a minute old."""

    _facts: Facts

    def banned(self) -> frozenset[str]:
        """The compact names of users whose accounts are disabled."""
        return self._facts.known.banned

    def resource_types(self) -> tuple[ResourceTypeRow, ...]:
        """The resource types; none where they were not read yet."""
        return self._facts.known.resource_types

    async def site_specs(self, kind: str) -> dict[str, dict[str, Any]]:
        """The specifications of the queues of a type, by name."""
        return await deferToThread(specs, self._facts.known.queues.values(), kind)
