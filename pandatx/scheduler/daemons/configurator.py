"""configurator: sites, endpoints and queues from CRIC; --network, --json_dump and --sw_tags do one thing each."""

from __future__ import annotations

from attrs import define, field

from pandatx.clients.cric import DumpAway
from pandatx.domain.dumps import UnreadableDump
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.scheduler.idle import Idle
from pandatx.services.configurator import Configurator
from pandatx.services.network import Network
from pandatx.services.queues import Queues
from pandatx.services.sw_tags import SoftwareTags


@define(eq=False)
class Configure:
    """One module under several names of the operator's file, told apart by their arguments."""

    _configurator: Configurator
    _network: Network
    _queues: Queues
    _tags: SoftwareTags
    _idle: dict[str, Idle] = field(factory=dict)

    async def run(self, context: Context) -> bool:
        """A dump that cannot be had or read changes nothing, and is asked for again next time."""
        tasks = {
            (): self._sites,
            ("--network",): self._connections,
            ("--json_dump",): self._descriptions,
            ("--sw_tags",): self._software,
        }
        task = tasks.get(tuple(str(argument).lower() for argument in context.arguments))
        if task is None:
            given = " ".join(map(str, context.arguments))
            raise BadArguments(
                f"configurator takes one of --network, --json_dump and --sw_tags, or nothing; not {given}"
            )
        try:
            if lacking := await task(context):
                return self._idle.setdefault(context.daemon, Idle()).say(context, f"no {lacking} in the configuration")
        except (DumpAway, UnreadableDump) as fault:
            context.log.warn("{daemon} changes nothing: {fault}", daemon=context.daemon, fault=fault)
        return False

    async def _sites(self, context: Context) -> str:
        if lacking := self._configurator.lacking:
            return ", ".join(lacking)
        changes = await self._configurator.load()
        context.did(changed=changes.changed, gone=changes.gone)
        return ""

    async def _connections(self, context: Context) -> str:
        if not self._network.configured:
            return "NWS_URL or CRIC_URL_CM"
        context.did(measures=await self._network.load(context.breathe))
        return ""

    async def _descriptions(self, context: Context) -> str:
        if not self._queues.configured:
            return "CRIC_URL_SCHEDCONFIG"
        context.did(queues=await self._queues.load(thoroughly=True))
        return ""

    async def _software(self, context: Context) -> str:
        if not self._tags.configured:
            return "CRIC_URL_TAGS"
        context.did(queues=await self._tags.load())
        return ""
