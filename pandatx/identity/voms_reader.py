"""The VOMS attributes of connections: judged once per proxy, remembered, and judged anew when what judges changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import Factory, define, field, frozen
from cryptography import x509
from twisted.logger import Logger

from pandatx.identity import names
from pandatx.identity.trust import Trust, stamp
from pandatx.identity.voms import extension_of
from pandatx.identity.voms_judge import Granted, Judge, Verdict
from pandatx.identity.vomsdir import VomsDir, places, read_vomsdir

log = Logger()

REMEMBERED, NAMED = 10_000, 10_000
SECOND_THOUGHTS = timedelta(minutes=1)
"""After so long a refusal is thought over: it may have been a matter of clocks."""
Key = tuple[bytes, bytes]


@frozen(kw_only=True)
class Attributes:
    """What a chain's VOMS attributes grant until a time, and why some of them grant nothing."""

    granted: tuple[Granted, ...] = ()
    until: datetime | None = None
    why: str = ""

    @property
    def fqans(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fqan for each in self.granted for fqan in each.fqans))

    @property
    def words(self) -> tuple[str, ...]:
        """The same in the words of mod_gridsite's GRST_CRED_<n>, with their times."""
        return tuple(
            f"VOMS {each.start.timestamp():.0f} {each.end.timestamp():.0f} 0 {fqan}"
            for each in self.granted
            for fqan in each.fqans
        )


NONE = Attributes()


@define(eq=False)
class VomsReader:
    """Reads the attributes of a chain that OpenSSL has verified.

    Of several proxies with attributes the one nearest to the caller counts, as in libvoms. ``in_thread`` does work off
    the reactor's thread. ``generation`` grows with each renewal that says something new: what was found before is to be
    asked for again.
    """

    _vomsdir: Path | None = None
    _sha1: bool = False
    _in_thread: Callable[[Callable[[], Verdict]], Awaitable[Verdict]] | None = None
    generation: int = field(default=0, init=False)
    trust: Trust = Factory(Trust)
    _signers: VomsDir = field(factory=VomsDir, init=False)
    _judge: Judge = field(factory=Judge, init=False)
    _known: dict[Key, Attributes] = field(factory=dict, init=False)
    _named: set[tuple[str, str]] = field(factory=set, init=False)

    def renew(self, trust: Trust) -> None:
        """Judge by these CAs and revocation lists from now on, and by vomsdir as it is now."""
        signers = read_vomsdir(self._vomsdir, self._signers)
        if self.generation and signers == self._signers and trust.says_the_same(self.trust):
            return
        self._signers = signers
        judge = Judge(trust, signers, self._sha1)
        # Another thread may read in between: what it finds by the former judge goes to a memory that nobody asks.
        self.trust, self._judge, self._known = trust, judge, {}
        self.generation += 1

    def mark(self) -> tuple[tuple[str, int, int], ...]:
        """What changes when vomsdir does."""
        return stamp(places(self._vomsdir))

    def read(
        self, chain: Sequence[x509.Certificate], holder: x509.Certificate, now: datetime
    ) -> Attributes | Awaitable[Attributes]:
        """What the attributes in a chain, leaf first, grant to its end entity ``holder``; at once where it is known."""
        extension = _nearest(chain[: chain.index(holder) + 1])
        if extension is None:
            return NONE
        key = (sha256(extension).digest(), sha256(holder.tbs_certificate_bytes).digest())
        memory = self._known
        known = memory.get(key)
        if known is not None and known.until is not None and now < known.until:
            return known
        judge = self._judge

        def work() -> Verdict:
            return judge.verdict(extension, holder, now)

        async def wait(verdict: Awaitable[Verdict]) -> Attributes:
            return self._keep(memory, key, holder, now, await verdict)

        if self._in_thread is None:
            return self._keep(memory, key, holder, now, work())
        return wait(self._in_thread(work))

    def _keep(
        self, memory: dict[Key, Attributes], key: Key, holder: x509.Certificate, now: datetime, verdict: Verdict
    ) -> Attributes:
        ends = [each.until for each in verdict.granted]
        if verdict.faults:
            ends.append(now + SECOND_THOUGHTS)
            self._name(verdict.faults, names.slash_dn(holder))
        found = Attributes(granted=verdict.granted, until=min(ends, default=None), why="; ".join(verdict.faults))
        if found.until is not None:
            if len(memory) >= REMEMBERED:
                del memory[next(iter(memory))]
            memory[key] = found
        return found

    def _name(self, faults: Sequence[str], dn: str) -> None:
        for fault in faults:
            if (dn, fault) not in self._named:
                if len(self._named) >= NAMED:
                    self._named.clear()
                self._named.add((dn, fault))
                log.warn("{dn}: {fault}", dn=dn, fault=fault)


def _nearest(chain: Sequence[x509.Certificate]) -> bytes | None:
    for cert in chain:
        found: Any = extension_of(cert)
        if found is not None:
            return bytes(found)
    return None
