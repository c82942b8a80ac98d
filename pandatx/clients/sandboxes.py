"""Sandboxes in the caches of other servers: looked for and touched over HTTPS."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import orjson
from attrs import frozen

from pandatx.clients.web import Away, Web
from pandatx.domain.file_requests import MARK

LIMIT: Final = 20.0
"""Seconds for an answer."""
LARGEST: Final = 1024 * 1024
AT_ONCE: Final = 8
"""Requests at a time."""
_TARGET: Final = "sandboxes"


class HostAway(Exception):
    """A host that does not answer, and why."""


@frozen
class Sandboxes:
    """Asks the hosts that have the files, at the ``port`` that URLs name."""

    _web: Web
    _port: int

    async def exists(self, host: str, name: str) -> bool:
        """Whether a host itself has a file in its cache: False only where it says so. Raises HostAway."""
        try:
            url = f"https://{host}:{self._port}/cache/{quote(name, safe='')}"
            answer = await self._web.head(url, _TARGET, {MARK: "here"})
        except Away as fault:
            raise HostAway(str(fault)) from fault
        return answer.code != 404

    async def touch(self, host: str, name: str) -> bool:
        """Have a host count a file of its cache as new; whether it has done so. Raises HostAway."""
        url = f"https://{host}:{self._port}/api/v1/file_server/touch_cache_file"
        headers = {"content-type": "application/json"}
        try:
            answer = await self._web.post(url, _TARGET, headers, body=orjson.dumps({"file_name": name}))
        except Away as fault:
            raise HostAway(str(fault)) from fault
        try:
            envelope = orjson.loads(answer.content)
        except ValueError:
            return False
        return answer.code == 200 and isinstance(envelope, dict) and envelope.get("success") is True
