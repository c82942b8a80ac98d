"""Who asks."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Caller:
    """The party behind a request, however it was authenticated; identity/ makes it, the declarations judge it.

    ``dn`` is the bare DN in slash form without proxy components, None for an anonymous caller; ``name`` is the
    compact name (reference/wire.md 1.5.2). ``how`` is "x509", "token" or "anonymous".
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

    @property
    def authenticated(self) -> bool:
        return self.dn is not None

    @property
    def secure(self) -> bool:
        """Authenticated, and not by a limited proxy."""
        return self.dn is not None and not self.limited

    @property
    def reports(self) -> bool:
        """May report on any job: the production or the pilot role (rule R16)."""
        return self.production or self.pilot


ANONYMOUS = Caller()
