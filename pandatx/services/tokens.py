"""Bearer tokens: the files of their clients, the keys of their issuers, and who judges them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.web import MIB, Web
from pandatx.clock import Clock
from pandatx.config import IdentitySettings
from pandatx.identity.auth_config import AuthConfig, MayBeAsked, asked_over_tls, read_auth_config
from pandatx.identity.tokens import Judge, TokenRules
from pandatx.services.complaints import Complaints
from pandatx.services.issuers import Issuers

log = Logger()

_LIMIT: Final = 10.0
"""Seconds that an issuer may take; a caller may be waiting."""


@define(eq=False)
class Tokens:
    """What is known of tokens; ``refresh`` brings it up to date. ``ca_dir`` is trusted beside the system; in ``file``
    the issuers' keys are kept."""

    _settings: IdentitySettings
    _clock: Clock
    _ca_dir: Path
    _file: Path | None = None
    config: AuthConfig = field(factory=AuthConfig)
    _issuers: Issuers = field(init=False)
    _judge: Judge = field(init=False)
    _may_be_asked: MayBeAsked = field(init=False)
    _complaints: Complaints = field(factory=lambda: Complaints(log))

    def __attrs_post_init__(self) -> None:
        settings = self._settings
        self._may_be_asked = asked_over_tls(settings.plain_token_issuers)
        web = Web(self._clock.reactor, self._ca_dir, limit=_LIMIT, largest=MIB)
        self._issuers = Issuers(web, self._clock, self._may_be_asked, settings.token_algorithms, self._file)
        rules = TokenRules(
            algorithms=settings.token_algorithms,
            issuers=settings.legacy_token_issuers,
            audiences=settings.token_audiences,
        )
        self._judge = Judge(settings, lambda: self.config, self._issuers, self._clock, rules)

    @property
    def judge(self) -> Judge | None:
        """Who judges tokens; None where none are taken."""
        return self._judge if self._settings.token_auth_type == "oidc" else None

    @property
    def state(self) -> tuple[bool, str]:
        """Whether all is well, and one line on it."""
        if self.judge is None:
            return True, "none are taken"
        faults = (*self.config.faults, *self._issuers.faults)
        text = f"clients: {len(self.config.clients)}, issuers: {len(self.config.urls)}"
        return not faults, "; ".join((text, *faults))

    async def start(self) -> None:
        """Read the files before the first request; the issuers need not be there."""
        if self.judge is not None:
            await self.read_files()
            await self._issuers.load()

    async def refresh(self) -> None:
        """Read the files, and fetch the keys that are due; a failure leaves what is known."""
        if self.judge is None:
            return
        await self.read_files()
        await self._issuers.renew(self.config.urls)

    async def read_files(self) -> None:
        """Read the folder and the policies again; what has changed holds for the next request."""
        settings = self._settings
        found = await deferToThread(read_auth_config, settings.auth_dir, settings.auth_policies, self._may_be_asked)
        self._complaints.about(found.faults)
        if found == self.config:
            return
        self.config = found
        names = ", ".join(client.name for client in found.clients)
        log.info("{n} clients of token issuers: {names}", n=len(found.clients), names=names or "none")
