"""The keys of token issuers, kept at hand: fetched by discovery, renewed in the background, used over an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.oidc_issuers import is_over_tls, issuer_document
from pandatx.clients.web import Away, Web
from pandatx.clock import Clock
from pandatx.identity.token_keys import Issuer, IssuerAway, read_discovery, read_keys
from pandatx.services.complaints import Complaints
from pandatx.store import issuer_keys as store
from pandatx.store.issuer_keys import KeptKeys

log = Logger()

FRESH: Final = timedelta(minutes=10)
"""How long keys are used without a thought."""
RENEWED: Final = timedelta(minutes=8)
"""The age at which they are fetched again in the background."""
HOLD: Final = timedelta(hours=24)
"""How long the last known ones do while the issuer cannot be reached."""
PATIENCE: Final = timedelta(seconds=10)
"""After a failure an issuer is not asked again for so long; other callers are told the reason at once."""
UNKNOWN_KEY: Final = timedelta(seconds=30)
"""At most so often an unknown kid makes us ask an issuer before it is due."""


@frozen
class _Known:
    """``said`` is the JWKS, word for word."""

    issuer: Issuer
    said: bytes
    read_at: datetime


@define(eq=False)
class Issuers:
    """``may_be_asked`` says which addresses are trusted, ``algorithms`` what keys may verify by. In ``file`` the keys
    outlive this process."""

    _web: Web
    _clock: Clock
    _may_be_asked: Callable[[str], bool]
    _algorithms: tuple[str, ...]
    _file: Path | None = None
    generation: int = 0
    _known: dict[str, _Known] = Factory(dict)
    _failed: dict[str, tuple[datetime, str]] = Factory(dict)
    _asked_for_key: dict[str, datetime] = Factory(dict)
    _waiting: dict[str, list[Deferred[None]]] = Factory(dict)
    _news: bool = False
    _complaints: Complaints = field(factory=lambda: Complaints(log))

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with those that did not answer when they were last asked."""
        return tuple(why for _, why in self._failed.values())

    async def keys(self, url: str, kid: str) -> Issuer:
        """The issuer whose discovery document is at ``url``; if it has no ``kid``, it is asked whether it has one now.

        Raises IssuerAway when its keys are not known or too old, and it cannot be reached.
        """
        known, now = self._known.get(url), self._clock.now()
        if known is None or known.read_at + HOLD <= now:
            await self._read_patiently(url, now)
        elif kid not in known.issuer.keys and (url in self._waiting or self._may_ask_for_key(url, now)):
            await self._renew(url)
        elif known.read_at + FRESH <= now and url not in self._waiting and self._why_left_alone(url, now) is None:
            Deferred.fromCoroutine(self._renew(url)).addErrback(
                lambda failure: log.failure("keys of {u}", failure, u=url)
            )
        if (known := self._known.get(url)) is None:
            raise IssuerAway("no client of it is configured any more")
        return known.issuer

    async def load(self) -> None:
        """Know what the process before this one knew."""
        if self._file is None:
            return
        for url, kept in (await deferToThread(store.read, self._file)).items():
            with suppress(ValueError):
                said = kept.jwks.encode("latin-1")
                issuer = Issuer(kept.issuer, read_keys(said, self._algorithms))
                self._known.setdefault(url, _Known(issuer, said, min(kept.read_at, self._clock.now())))

    async def renew(self, urls: Iterable[str]) -> None:
        """Fetch again what is due of these, and forget the others."""
        wanted = tuple(urls)
        for gone in {*self._known, *self._failed} - set(wanted):
            self._known.pop(gone, None)
            self._failed.pop(gone, None)
        now = self._clock.now()
        due = [url for url in wanted if (known := self._known.get(url)) is None or known.read_at + RENEWED <= now]
        await gatherResults([Deferred.fromCoroutine(self._renew(url)) for url in due])
        self._complaints.about(self.faults)
        if self._news and self._file is not None:
            await self._keep(self._file)

    async def _keep(self, file: Path) -> None:
        self._news = False
        kept = {
            url: KeptKeys(issuer=known.issuer.name, jwks=known.said.decode("latin-1"), read_at=known.read_at)
            for url, known in self._known.items()
        }
        try:
            await deferToThread(store.write, file, kept)
        except OSError as fault:
            log.warn("{file} cannot be written: {fault}", file=str(file), fault=fault.strerror)

    def _may_ask_for_key(self, url: str, now: datetime) -> bool:
        asked = self._asked_for_key.get(url)
        if asked is not None and now < asked + UNKNOWN_KEY:
            return False
        self._asked_for_key[url] = now
        return True

    async def _read_patiently(self, url: str, now: datetime) -> None:
        if (why := self._why_left_alone(url, now)) is not None:
            raise IssuerAway(why)
        await self._read(url)

    def _why_left_alone(self, url: str, now: datetime) -> str | None:
        at, why = self._failed.get(url, (None, None))
        return why if at is not None and now < at + PATIENCE else None

    async def _renew(self, url: str) -> None:
        """What is known stays when the issuer cannot be reached."""
        try:
            await self._read(url)
        except IssuerAway:
            return

    async def _read(self, url: str) -> None:
        """Ask the issuer, once for all who want to know at the same time. Raises IssuerAway."""
        if (waiting := self._waiting.get(url)) is not None:
            waiting.append(mine := Deferred[None]())
            await mine
        else:
            self._waiting[url] = []
            try:
                await self._ask(url)
            finally:
                for each in self._waiting.pop(url):
                    each.callback(None)
        if url in self._failed:
            raise IssuerAway(self._failed[url][1])

    async def _ask(self, url: str) -> None:
        try:
            name, where = read_discovery(await issuer_document(self._web, url, self._may_be_asked))
            said = await issuer_document(self._web, where, self._may_be_asked, over_tls=is_over_tls(url))
            found = Issuer(name, read_keys(said, self._algorithms))
            if not any(found.keys.values()):
                raise ValueError("it publishes no key that tokens may be signed by")
        except (Away, ValueError) as fault:
            why = str(fault) if isinstance(fault, Away) else f"{url}: {fault}"
            self._failed[url] = self._clock.now(), why
            return
        self._failed.pop(url, None)
        before = self._known.get(url)
        self._known[url] = _Known(found, said, self._clock.now())
        self._news = True
        if before is not None and (before.issuer.name, before.said) != (name, said):
            self.generation += 1
            log.info("the keys of {issuer} have changed: {kids}", issuer=name, kids=", ".join(sorted(found.keys)))
