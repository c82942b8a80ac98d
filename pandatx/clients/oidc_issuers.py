"""Documents of token issuers: discovery and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

from pandatx.clients.web import Away, Web

_HOPS: Final = 4
_MOVED: Final = (301, 302, 303, 307, 308)


async def issuer_document(web: Web, url: str, may_be_asked: Callable[[str], bool]) -> bytes:
    """What an issuer says at ``url``; it is followed only to where it ``may_be_asked``. Raises Away."""
    for _ in range(_HOPS):
        if not may_be_asked(url):
            raise Away(f"{_host(url)} is not asked: what decides about tokens comes over https:// only")
        answer = await web.get(url, "issuer", {"Accept": "application/json"}, follow=False)
        if answer.code not in _MOVED:
            break
        url = urljoin(url, answer.headers.get("location", ""))
    if answer.code != 200:
        raise Away(f"{_host(url)} answers {answer.code}")
    return answer.content


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "an issuer without a host"
    except ValueError:
        return "an issuer whose address is none"
