"""A file that is still coming from another server, given to a client as fast as both allow."""

from __future__ import annotations

import re
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.web.http import datetimeToString
from twisted.web.server import NOT_DONE_YET

from pandatx.clients.sandboxes import HostAway
from pandatx.domain.file_requests import OVERWRITES
from pandatx.errors import Busy
from pandatx.services.growing_files import Growing


@define(eq=False)
class PassingOn:
    """One answer. A part of a file is not passed on while it comes: the client waits until all of it is here."""

    _request: Any
    _name: str
    _kept_for: bytes
    wants_part: bool = field(init=False)
    _begun: bool = False
    _gone: bool = False
    _held: Deferred[None] | None = None
    _over: bool = False

    def __attrs_post_init__(self) -> None:
        asked = self._request.getHeader(b"range") is not None and self._request.method == b"GET"
        self.wants_part = asked and not self._name.endswith(OVERWRITES)  # that is not kept
        self._request.notifyFinish().addBoth(self._lost)

    @property
    def may_answer(self) -> bool:
        """Nothing has been said yet, and somebody is there to hear it."""
        return not self._begun and not self._gone

    async def send(self, growing: Growing) -> None:
        """Give the whole file. Raises Busy where it does not come, unless some of it was given: then the client sees
        that its answer breaks off.
        """
        if self.wants_part:
            try:
                await growing.whole()
            except (HostAway, OSError):
                raise Busy("the file did not come", retry_after=30) from None
            return
        if not self.may_answer:
            return
        self._begin(growing)
        if self._request.method != b"HEAD":
            try:
                await self._give_all(growing)
            except (HostAway, OSError, Busy):
                self.break_off()
        self.finish(b"")

    async def _give_all(self, growing: Growing) -> None:
        at = 0
        while not self._gone and (piece := await growing.piece(at)):
            at += len(piece)
            self._request.write(piece)
            if self._held is not None:
                await self._held

    def _begin(self, growing: Growing) -> None:
        self._begun = True
        request = self._request
        guards = (
            (b"content-type", b"application/octet-stream"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", b"sandbox; default-src 'none'"),
            (b"content-disposition", b'attachment; filename="%s"' % re.sub(r'["\\]', "_", self._name).encode()),
            (b"cache-control", self._kept_for),
        )
        for name, value in guards:
            request.setHeader(name, value)
        if growing.head.size is not None:
            request.setHeader(b"content-length", b"%d" % growing.head.size)
        if growing.head.changed is not None:
            request.setHeader(b"last-modified", datetimeToString(growing.head.changed))  # type: ignore[no-untyped-call]
        if request.method != b"HEAD":
            request.registerProducer(self, True)

    def finish(self, answer: Any) -> None:
        """All is said; ``answer`` is what a resource's render gives, None where there is nothing more to say."""
        if self._over or self._gone:
            return
        self._over = True
        if answer is NOT_DONE_YET:
            return
        if self._request.producer is not None:
            self._request.unregisterProducer()
        if answer:
            self._request.write(answer)
        self._request.finish()

    def break_off(self) -> None:
        """Let the client see that this is not the whole."""
        if not self._gone and not self._over:
            self._over = True
            if self._request.producer is not None:
                self._request.unregisterProducer()
            self._request.channel.transport.abortConnection()

    def _lost(self, _: Any) -> None:
        self._gone = True
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The client is slower."""
        if self._held is None and not self._gone:
            self._held = Deferred()

    def resumeProducing(self) -> None:
        """It has room again."""
        held, self._held = self._held, None
        if held is not None:
            held.callback(None)

    def stopProducing(self) -> None:
        """The client is gone."""
        self._lost(None)
