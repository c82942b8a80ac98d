"""Who asks."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from attrs import frozen

LONGEST_IDENTITY: Final = 500
"""Characters that the table of owners has room for."""


@frozen(kw_only=True)
class Caller:
    """The party behind a request, however it was authenticated; identity/ makes it, the declarations judge it.

    ``dn`` is the bare DN in slash form without proxy components, None for an anonymous caller; ``name`` is the
    compact name (reference/wire.md 1.5.2). ``how`` is "x509", "token" or "anonymous". ``issuer`` and ``subject`` are
    those of a token that made this caller; ``attributes`` what is said of a token when its holder asks.
    ``voms`` has the credentials of a chain of certificates as mod_gridsite words them: the values of GRST_CRED_0 and
    so on. ``why_not_secure`` and ``why_no_role``: what is wrong with credentials that give less than they were meant
    to. ``by_name``: the production role comes from the compact name alone, which several subjects may have.
    """

    dn: str | None = None
    name: str = ""
    fqans: tuple[str, ...] = ()
    how: str = "anonymous"
    limited: bool = False
    production: bool = False
    pilot: bool = False
    working_groups: tuple[str, ...] = ()
    address: str = ""
    issuer: str | None = None
    subject: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    voms: tuple[str, ...] = ()
    why_not_secure: str = ""
    why_no_role: str = ""
    by_name: bool = False

    @property
    def authenticated(self) -> bool:
        return self.dn is not None

    @property
    def secure(self) -> bool:
        """Authenticated, and not by a limited proxy."""
        return self.dn is not None and not self.limited

    @property
    def identity(self) -> str:
        """What a name of an owner is bound to (rule R27): the DN of a certificate, issuer and subject of a token. The
        digest of a long one stands for its end."""
        whole = f"{self.issuer} {self.subject}" if self.how == "token" else self.dn or ""
        if len(whole) <= LONGEST_IDENTITY:
            return whole
        return f"{whole[: LONGEST_IDENTITY - 65]}#{sha256(whole.encode()).hexdigest()}"

    @property
    def reports(self) -> bool:
        """May report on any job: the production or the pilot role (rule R16)."""
        return self.production or self.pilot


ANONYMOUS = Caller()
