"""The token cache against an issuer on the loopback: files, renewal, refusals, token keys; and no secret anywhere."""

import json
import os
from datetime import timedelta
from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.errors import UnwritableFolder
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.active_users import ActiveUsers
from pandatx.services.token_cache import Renewed, TokenCache
from pandatx.store.queries import Query

CLOCK = Clock(reactor)
SECRET = "hush-hush"
KEYS = Query(
    name="keys",
    text="SELECT id, dn, length(credname), expires - created, origin, myproxy FROM {meta}.proxykey ORDER BY id",
)


class Issuer(Resource):
    """Gives out numbered tokens."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.code = 200
        self.answer: dict | None = None
        self.lifetime: object = 3600
        self.fields = {}

    def render_POST(self, request) -> bytes:
        self.forms.append({key.decode(): values[0].decode() for key, values in request.args.items()})
        request.setResponseCode(self.code)
        if self.code == 302:
            request.setHeader(b"location", b"/elsewhere")
        answer = self.answer
        if answer is None:
            answer = {"access_token": f"token-{len(self.forms)}", "expires_in": self.lifetime}
        return json.dumps(answer).encode()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest_twisted.async_yield_fixture
async def endpoint(issuer):
    port = reactor.listenTCP(0, Site(issuer), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/token"
    await port.stopListening()


class Cache:
    """A cache with its files; ``later`` moves its clock."""

    def __init__(self, database, path, endpoint: str) -> None:
        self.config, self.directory, self.endpoint = path / "token_cache_config.json", path / "credentials", endpoint
        self.moved = timedelta()
        clock = SimpleNamespace(now=lambda: CLOCK.now() + self.moved)
        self.service = TokenCache(database, clock, Web(reactor, limit=5), self.config, self.directory)

    def configure(self, **clients) -> None:
        plain = {"endpoint": self.endpoint, "client_id": "robot", "secret": SECRET}
        self.config.write_text(json.dumps({name: {**plain, **changes} for name, changes in clients.items()}))

    async def refresh(self) -> Renewed | None:
        return await self.service.refresh()

    def token(self, client: str) -> str:
        return (self.directory / f"access_token_{client}").read_text()


@pytest.fixture
def cache(database, tmp_path, endpoint) -> Cache:
    return Cache(database, tmp_path, endpoint)


@pytest.fixture
def said():
    lines: list[str] = []

    def observer(event):
        lines.append(formatEvent(event) or "")
        lines.append(repr(event.get("log_failure")))

    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)
    assert SECRET not in "\n".join(lines)
    assert "token-" not in "\n".join(lines)


async def test_a_token_is_fetched_by_client_credentials_and_kept_for_its_owner_alone(cache, issuer, said):
    cache.configure(pilot_server={}, other={"scope": "a b"})
    assert await cache.refresh() == Renewed(tokens=2)
    assert issuer.forms == [
        {"grant_type": "client_credentials", "client_id": "robot", "client_secret": SECRET},
        {"grant_type": "client_credentials", "client_id": "robot", "client_secret": SECRET, "scope": "a b"},
    ]
    assert (cache.token("pilot_server"), cache.token("other")) == ("token-1", "token-2")
    assert (cache.directory / "access_token_other").stat().st_mode & 0o777 == 0o600
    assert cache.directory.stat().st_mode & 0o777 == 0o700


async def test_a_token_is_left_alone_until_it_is_due(cache, issuer, said):
    cache.configure(p={})
    await cache.refresh()
    cache.moved = timedelta(minutes=29)
    assert await cache.refresh() == Renewed()
    cache.moved = timedelta(minutes=31)
    assert await cache.refresh() == Renewed(tokens=1)
    assert cache.token("p") == "token-2"


@pytest.mark.parametrize("lifetime", [None, "3600", -1, 86400])
async def test_a_token_of_which_no_short_life_is_known_is_renewed_each_hour(cache, issuer, said, lifetime):
    issuer.lifetime = lifetime
    cache.configure(p={})
    await cache.refresh()
    cache.moved = timedelta(minutes=59)
    assert await cache.refresh() == Renewed()
    cache.moved = timedelta(minutes=61)
    assert await cache.refresh() == Renewed(tokens=1)


@pytest.mark.parametrize(
    ("code", "answer", "why"),
    [
        (401, {"error": "invalid_client", "error_description": SECRET}, "127.0.0.1 answers 401 (invalid_client)"),
        (400, {"error": f"<{SECRET}>"}, "127.0.0.1 answers 400"),
        (302, {}, "127.0.0.1 answers 302"),
        (200, {}, "127.0.0.1 gives no access_token"),
        (200, {"access_token": "two\nlines"}, "127.0.0.1 gives no access_token"),
    ],
)
async def test_a_token_that_cannot_be_renewed_stays_and_is_asked_for_again(cache, issuer, said, code, answer, why):
    cache.configure(p={})
    await cache.refresh()
    cache.moved = timedelta(hours=2)
    issuer.code, issuer.answer = code, answer
    for _ in range(2):
        assert await cache.refresh() == Renewed(failed=1)
    assert cache.token("p") == "token-1"
    assert f"no new token for client p: {why}" in said
    assert len(issuer.forms) == 3
    issuer.code, issuer.answer = 200, None
    assert await cache.refresh() == Renewed(tokens=1)


async def test_an_issuer_that_is_away_costs_only_its_client(cache, issuer, said):
    cache.configure(a={"endpoint": "http://127.0.0.1:1/token"}, b={})
    assert await cache.refresh() == Renewed(tokens=1, failed=1)
    assert cache.token("b") == "token-1"


async def test_a_file_that_somebody_else_keeps_fresh_is_not_asked_for(cache, issuer, said, tmp_path):
    place = tmp_path / "theirs"
    place.write_text("theirs")
    cache.configure(p={"token_file_path": str(place)}, q={"token_file_path": str(place), "endpoint": None})
    assert await cache.refresh() == Renewed()
    os.utime(place, (0, 0))
    assert await cache.refresh() == Renewed(tokens=1)
    assert place.read_text() == "token-1"
    assert place.stat().st_mode & 0o777 == 0o600


async def test_faulty_clients_are_told_once_and_cost_only_themselves(cache, said):
    cache.configure(**{"../up": {}, "p": {}, "q": {"secret": None}})
    for _ in range(2):
        await cache.refresh()
    assert sum("gets no token" in line for line in said) == 2
    assert [path.name for path in cache.directory.iterdir()] == ["access_token_p"]


async def test_a_file_of_clients_that_cannot_be_read_is_told_once(cache, said):
    cache.config.write_text("{")
    for _ in range(2):
        assert await cache.refresh() == Renewed()
    assert sum(line.startswith("tokens are not renewed:") for line in said) == 1


async def test_without_the_file_the_daemon_says_so_once(cache, said):
    daemon = ActiveUsers(SimpleNamespace(configured=False), cache.service)
    context = Context(CLOCK, "proxyCache")
    for _ in range(2):
        assert await daemon.run(context) is False
    assert said.count("proxyCache stays idle: no proxies are kept, [pandatx] proxy_plugin is not set") == 1
    why = f"no tokens are kept, token_cache_config {cache.config} does not exist"
    assert said.count(f"proxyCache stays idle: {why}") == 1
    cache.configure(p={})
    await daemon.run(context)
    assert context.counts["tokens"] == 1


async def test_a_folder_that_cannot_be_made_is_an_error_of_the_daemon(cache, said):
    cache.directory.write_text("a file")
    cache.configure(p={})
    with pytest.raises(UnwritableFolder, match="credentials"):
        await cache.refresh()


async def test_a_file_that_cannot_be_written_keeps_no_other_token_from_being_renewed(cache, said, tmp_path):
    cache.configure(p={"token_file_path": str(tmp_path / "none" / "token")}, q={})
    with pytest.raises(UnwritableFolder, match="none/token"):
        await cache.refresh()
    assert cache.token("q")


async def test_a_client_gets_a_new_key_each_hour_and_expired_ones_go(cache, database, said):
    cache.configure(p={"use_token_key": True}, q={"use_token_key": True, "token_key_lifetime": 2}, r={})
    assert (await cache.refresh()).keys == 2
    rows = (await database.statement("keys", KEYS)).rows
    assert rows == [
        (1, "p", 36, timedelta(hours=96), "panda", "NA"),
        (2, "q", 36, timedelta(hours=2), "panda", "NA"),
    ]
    cache.moved = timedelta(minutes=59)
    assert (await cache.refresh()).keys == 0
    cache.moved = timedelta(minutes=61)
    assert (await cache.refresh()).keys == 2
    cache.moved = timedelta(minutes=120.5)
    await cache.refresh()
    assert [row[:2] for row in (await database.statement("keys", KEYS)).rows] == [(1, "p"), (3, "p"), (4, "q")]


async def test_a_key_comes_though_the_token_does_not(cache, issuer, said):
    issuer.code = 500
    cache.configure(p={"use_token_key": True})
    assert await cache.refresh() == Renewed(failed=1, keys=1)
