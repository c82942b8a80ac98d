"""Listening to data management in the process that runs the daemons: one listener for each state directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pandatx.clients.messages import Broker, BrokerAway, Listening
from pandatx.clock import Clock
from pandatx.core import Core
from pandatx.foundations import Foundations
from pandatx.metrics import MESSAGES, MESSAGES_UP
from pandatx.services.messages import Messages

log = Logger()

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether the daemons run here."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Seconds between two attempts to connect."""


@define(eq=False)
class Messaging:
    """Connects again and again, and says once when it cannot; ``here`` says whether it is this process's turn."""

    _clock: Clock
    _broker: Broker | None
    _messages: Messages
    _here: Callable[[], bool]
    _running: Deferred[None] | None = field(init=False, default=None)
    _sleep: Deferred[None] | None = field(init=False, default=None)
    _listening: Listening | None = field(init=False, default=None)
    _up: bool = field(init=False, default=False)
    _stopping: bool = field(init=False, default=False)
    _why: str = field(init=False, default="")

    @property
    def state(self) -> tuple[bool, str]:
        """Whether all is well, and a text for operators."""
        if self._broker is None:
            return True, "no broker is configured"
        if self._up:
            return True, f"listening to {self._broker.destination} at {self._broker.name}"
        if self._why:
            return False, f"{self._broker.name} is away: {self._why}"
        return True, "not begun" if self._here() else "not by this process"

    async def start(self) -> None:
        """Begin to listen as soon as the daemons run here."""
        if self._broker is None:
            return
        if not self._broker.installed():
            self._why = "stomp.py is not installed"
            log.error("messages_host is set, but stomp.py is missing: install pandatx[messaging]")
            return
        MESSAGES_UP.set_function(lambda: float(self._up))
        self._running = Deferred.fromCoroutine(self._run(self._broker))

    async def stop(self) -> None:
        """End with the message that is in hand; those behind it come again."""
        self._stopping = True
        if self._sleep is not None:
            self._sleep.cancel()
        if self._listening is not None:
            self._listening.lose("the server stops")
        if self._running is not None:
            await self._running

    async def _run(self, broker: Broker) -> None:
        wait = FIRST_WAIT
        while not self._stopping:
            if not self._here():
                await self._pause(LOOK_EVERY)
                continue
            was_up = await self._listen(broker)
            wait = FIRST_WAIT if was_up else min(2 * wait, LONGEST_WAIT)
            await self._pause(wait)

    async def _listen(self, broker: Broker) -> bool:
        """Until the connection is lost; whether there was one."""
        was_up = False

        def up() -> None:
            nonlocal was_up
            was_up, self._up, self._why = True, True, ""
            log.info("listening to {destination} at {broker}", destination=broker.destination, broker=broker.name)

        self._listening = broker.new()
        try:
            await broker.listen(self._listening, self._take, up)
        except BrokerAway as fault:
            self._away(broker, str(fault))
        except Exception as fault:  # the edge of a loop that must go on
            log.failure("the connection to {broker} has failed", broker=broker.name)
            self._away(broker, f"{type(fault).__name__}: {fault}")
        finally:
            self._listening, self._up = None, False
        return was_up

    async def _take(self, message_id: str, body: bytes, wanted: Callable[[], bool]) -> bool:
        """A bug of ours over a message counts as done too: else the same message would come again for ever."""
        try:
            return await self._messages.take(message_id, body, wanted)
        except Exception:  # the edge of a loop that must go on
            log.failure("message {id}: a bug of ours", id=message_id)
            MESSAGES.labels("refused").inc()
            return True

    def _away(self, broker: Broker, why: str) -> None:
        if not self._why and not self._stopping:
            log.warn("the message broker {broker} is away, it is tried again: {why}", broker=broker.name, why=why)
        self._why = why

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            return
        self._sleep = self._clock.wait(seconds)
        try:
            await self._sleep
        except CancelledError:
            pass
        finally:
            self._sleep = None


def make_messaging(core: Core, ground: Foundations, here: Callable[[], bool]) -> Messaging:
    """As the configuration wants it."""
    settings, clock = ground.config.messaging, ground.clock
    wanted = settings.host is not None and settings.destination is not None
    messages = Messages(ground.background, clock, core.activator, core.finisher)
    return Messaging(clock, Broker(clock.reactor, settings) if wanted else None, messages, here)
