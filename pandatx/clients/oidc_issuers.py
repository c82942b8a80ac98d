"""Documents of token issuers: discovery and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

from pandatx.clients.web import Away, Web

_HOPS: Final = 4
_MOVED: Final = (301, 302, 303, 307, 308)


async def issuer_document(web: Web, url: str, may_be_asked: Callable[[str], bool], *, over_tls: bool = False) -> bytes:
    """What an issuer says at ``url``; it is followed only to where it ``may_be_asked``, and from TLS only to TLS: an
    issuer out there is not to lead us to what listens on this host. Raises Away.
    """
    for _ in range(_HOPS):
        over_tls = over_tls or is_over_tls(url)
        if not may_be_asked(url) or (over_tls and not is_over_tls(url)):
            raise Away(f"{_host(url)} is not asked: what decides about tokens comes over https:// only")
        answer = await web.get(url, "issuer", {"Accept": "application/json"}, follow=False)
        if answer.code not in _MOVED:
            break
        url = urljoin(url, answer.headers.get("location", ""))
    if answer.code != 200:
        raise Away(f"{_host(url)} answers {answer.code}")
    return answer.content


def is_over_tls(url: str) -> bool:
    """Whether an address is asked over TLS."""
    return url.lower().startswith("https:")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "an issuer without a host"
    except ValueError:
        return "an issuer whose address is none"
