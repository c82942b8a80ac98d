"""A whole site over stub services, asked in memory: the layer just below the resources is all that is stubbed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from attrs import define, evolve, field
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock as Time
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site as HTTPSite

from pandatx.domain.caller import ANONYMOUS, Caller
from pandatx.resources.api import collect
from pandatx.resources.bodies import BodyReader
from pandatx.resources.edge import Edge
from pandatx.resources.router import Root

ANYBODY = ANONYMOUS
USER = Caller(dn="/DC=x/CN=Some User", name="Some User", how="x509", address="192.0.2.1")
OTHER = evolve(USER, dn="/DC=x/CN=Other", name="Other")
PILOT = evolve(USER, dn="/DC=x/CN=Pilot", name="Pilot", pilot=True)
LIMITED = evolve(PILOT, limited=True)
PRODUCTION = evolve(USER, dn="/DC=x/CN=Prod", name="Prod", production=True)


@define
class Got:
    """An answer."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> dict[str, str]:
        """The answer as a pilot reads it: blanks dropped."""
        return {name: values[0] for name, values in parse_qs(self.text).items()}

    def header(self, name: str) -> str | None:
        found = self.headers.getRawHeaders(name)
        return found[0] if found else None


async def at_once(work: Any) -> Any:
    """Stands for a thread."""
    return work()


@define
class Site:
    """Asks a root resource as one caller."""

    root: Any
    caller: Any = USER
    time: Time = field(factory=Time)

    def treq(self) -> StubTreq:
        return StubTreq(self.root)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Got:
        stub = self.treq()
        asking = stub.request(method, f"https://panda.example:25443{path}", headers=dict(headers or {}), data=body)
        response = await self._until(asking, stub)
        return Got(response.code, response.headers, await self._until(response.content(), stub))

    async def _until(self, wanted: Any, stub: StubTreq) -> Any:
        """What is wanted, once it is there: work breathes by our clock, files are sent by turns of the reactor."""
        found: list[Any] = []
        wanted.addBoth(found.append)
        for _ in range(1000):
            stub.flush()
            if found:
                if isinstance(found[0], Failure):
                    found[0].raiseException()
                return found[0]
            self.time.advance(0)
            await deferLater(reactor, 0)
        raise AssertionError("no answer")

    async def get(self, path: str, **headers: str) -> Got:
        return await self.ask("GET", path, _named(headers))

    async def post(self, path: str, body: bytes = b"", **headers: str) -> Got:
        return await self.ask("POST", path, _named(headers), body)

    async def rest(self, path: str, **values: Any) -> Got:
        """As Harvester and panda-client post to REST."""
        body = json.dumps(values).encode()
        return await self.post(f"/api/v1/{path}", body, content_type="application/json", accept="application/json")

    async def pilot(self, method: str, **values: Any) -> Got:
        """As pilot3 posts: gzipped JSON that does not say so, no Accept."""
        body = gzip.compress(json.dumps(values).encode())
        return await self.post(f"/server/panda/{method}", body, content_type="application/json")

    async def form(self, method: str, body: bytes, accept: str = "application/json") -> Got:
        """As the pilot's curl posts."""
        return await self.post(
            f"/server/panda/{method}", body, content_type="application/x-www-form-urlencoded", accept=accept
        )


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def site_of(*resources: object, caller: Caller | Exception = USER, trees: Any = None, **edge: Any) -> Site:
    """A site that serves the resources to one caller; an exception for a caller is raised."""
    time = Time()
    made = Site(None, caller, time)

    def callers(request: Any) -> Caller:
        if isinstance(made.caller, Exception):
            raise made.caller
        return made.caller

    made.root = Root(Edge(callers, BodyReader(at_once), time, **edge), collect(*resources), trees)
    return made


class Connection:
    """One HTTP connection in memory, whose client can hang up."""

    def __init__(self, site: Site) -> None:
        factory = HTTPSite(site.root, parsePOSTFormSubmission=False)
        factory.log = lambda request: None
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def send(
        self, method: str, values: Mapping[str, Any], headers: str = "", version: str = "1.1", host: str = "Host: x\r\n"
    ) -> None:
        """Post to the older dialect."""
        self.post(f"/server/panda/{method}", values, headers, version, host)

    def post(
        self, path: str, values: Mapping[str, Any], headers: str = "", version: str = "1.1", host: str = "Host: x\r\n"
    ) -> None:
        """Post JSON."""
        body = json.dumps(values).encode()
        head = f"POST {path} HTTP/{version}\r\n{host}{headers}Content-Type: application/json\r\n"
        self.protocol.dataReceived(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def hang_up(self) -> None:
        """The client goes."""
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def received(self) -> bytes:
        return bytes(self.transport.value())
