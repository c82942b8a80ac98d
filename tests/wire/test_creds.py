"""The group creds in both dialects (reference/wire.md 2.7 to 2.9, 2.14, 3.7, 4 rows 19 to 21 and 25, 7: 5, 6, 29)."""

from __future__ import annotations

import ast
import gzip
import json
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import psycopg2
import pytest
from attrs import evolve
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PILOT, PRODUCTION, USER, Got
from twisted.logger import capturedLogs

from pandatx.domain.user_proxies import file_name

JSON = "application/json"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nx\n"
LETTERS = "INSERT INTO users (id, name, gridpref) VALUES (1, 'Some User', %s)"
KEY = """INSERT INTO proxykey (id, dn, credname, created, expires, origin, myproxy) VALUES
 (1, 'pilot_server', 'old-key', now(), now() AT TIME ZONE 'UTC' + interval '10 hours', 'panda', 'NA'),
 (2, 'pilot_server', 'new-key', now(), now() AT TIME ZONE 'UTC' + interval '90 hours', 'panda', 'NA'),
 (3, 'pilot_server', 'dead-key', now(), now() AT TIME ZONE 'UTC' - interval '1 hours', 'panda', 'NA')"""
NO_SSL = "SSL secure connection is required"


async def rest(real: Real, path: str, **values: Any) -> Any:
    got = await real.ask("GET", f"/api/v1/creds/{path}?{urlencode(values, doseq=True)}", accept=JSON)
    assert got.status == 200
    return got.json


async def older(real: Real, method: str, accept: str = "", **values: Any) -> Got:
    body = urlencode(values).encode()
    named = {"accept": accept} if accept else {}
    return await real.ask(
        "POST", f"/server/panda/{method}", body, content_type="application/x-www-form-urlencoded", **named
    )


async def allow(real: Real, letters: str) -> None:
    real.caller = USER
    real.run(LETTERS, letters)
    await real.core.facts.refresh()


def keep(path: Path, content: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_proxy_is_given_under_the_keys_of_both_kinds_of_clients(real: Real, credentials: Path) -> None:
    await allow(real, "p")
    keep(credentials / file_name("/DC=x/CN=Some User", None), PEM)
    assert await rest(real, "get_proxy") == {
        "success": True,
        "message": "",
        "data": {"user_proxy": PEM, "userProxy": PEM},
    }
    for accept in ("", JSON):
        got = await older(real, "getProxy", accept, role="")
        assert got.header("content-type") == JSON
        assert got.json == {"StatusCode": 0, "errorDialog": "", "userProxy": PEM}
        assert list(got.json) == ["StatusCode", "errorDialog", "userProxy"]


async def test_a_proxy_is_of_a_role_and_of_whom_is_asked_for_by_dn_or_compact_name(
    real: Real, credentials: Path
) -> None:
    await allow(real, "p")
    keep(credentials / file_name("atlpilo2", "atlas"), "of the pilot")
    keep(credentials / file_name("/DC=x/CN=Him", "atlas:/atlas/Role=production"), "of him")
    found = await rest(real, "get_proxy", role="atlas", dn="atlpilo2")
    assert found["data"]["userProxy"] == "of the pilot"
    got = await older(real, "getProxy", role="atlas:/atlas/Role=production", dn="/DC=x/CN=Him/CN=proxy/CN=123")
    assert got.json["userProxy"] == "of him"


async def test_getproxy_of_pilot3_is_gzipped_json_that_does_not_say_so(real: Real, credentials: Path) -> None:
    await allow(real, "p")
    keep(credentials / file_name("atlpilo2", "atlas"), PEM)
    body = gzip.compress(json.dumps({"role": "atlas", "dn": "atlpilo2"}).encode())
    got = await real.ask("POST", "/server/panda/getProxy", body, content_type=JSON, user_agent="pilot/3.11.5.1")
    assert got.json == {"StatusCode": 0, "errorDialog": "", "userProxy": PEM}


async def test_a_proxy_that_is_not_kept_is_status_code_90(real: Real) -> None:
    await allow(real, "p")
    text = "proxy of /DC=x/CN=Some User with role r not found"
    assert await rest(real, "get_proxy", role="r") == {"success": False, "message": text, "data": None}
    got = await older(real, "getProxy", role="r")
    assert got.json == {"StatusCode": 90, "errorDialog": text}


@pytest.mark.parametrize(
    ("path", "method", "letter", "values"),
    [
        ("get_proxy", "getProxy", "p", {}),
        ("get_access_token", "get_access_token", "p", {"client_name": "c"}),
        ("get_token_key", "get_token_key", "t", {"client_name": "c"}),
        ("get_key_pair", "getKeyPair", "k", {"public_key_name": "a", "private_key_name": "b"}),
    ],
)
async def test_without_the_letter_nothing_is_given_even_to_those_with_a_role(
    real: Real, path: str, method: str, letter: str, values: dict[str, str]
) -> None:
    await allow(real, "".join(each for each in "pkta" if each != letter))
    spelt = {{"public_key_name": "publicKeyName", "private_key_name": "privateKeyName"}.get(k, k): v
             for k, v in values.items()}  # fmt: skip
    for real.caller in (USER, PILOT, PRODUCTION):
        told = await rest(real, path, **values)
        assert not told["success"]
        assert f"'{real.caller.name}' is not authorized with '{letter}' in doma_pandameta.USERS" in told["message"]
        got = await older(real, method, JSON, **spelt)
        assert (got.status, got.json["StatusCode"]) == (200, 70)
        assert got.json["errorDialog"] == told["message"]
    for real.caller in (ANYBODY, LIMITED):
        assert (await rest(real, path, **values))["message"].startswith(NO_SSL)
        got = await older(real, method, JSON, **spelt)
        assert got.json["StatusCode"] == 70
        assert got.json["errorDialog"].startswith(NO_SSL)


async def test_a_token_is_given_to_who_has_its_key_and_reads_as_a_python_literal(
    real: Real, state: Path, credentials: Path
) -> None:
    real.run(KEY)
    await allow(real, "p")
    keep(state / "token_cache_config.json", json.dumps({
        "pilot_server": {"endpoint": "https://x/token", "client_id": "i", "secret": "hidden", "use_token_key": True},
    }))  # fmt: skip
    keep(credentials / "access_token_pilot_server", "the.token.it-is\n")
    for key in ("old-key", "new-key"):
        got = await real.ask(
            "GET", f"/server/panda/get_access_token?client_name=pilot_server&token_key={key}", user_agent="pilot/3"
        )
        assert ast.literal_eval(got.text) == {"StatusCode": 0, "errorDialog": "", "userProxy": "the.token.it-is"}
        data = (await rest(real, "get_access_token", client_name="pilot_server", token_key=key))["data"]
        assert data == {"user_proxy": "the.token.it-is", "userProxy": "the.token.it-is"}
    for wrong in ("dead-key", "x", "", "new-ke", "ü"):
        got = await older(real, "get_access_token", client_name="pilot_server", token_key=wrong)
        text = "failed since token key is invalid for pilot_server"
        assert ast.literal_eval(got.text) == {"StatusCode": 50, "errorDialog": text}
        assert (await rest(real, "get_access_token", client_name="pilot_server", token_key=wrong))["message"] == text
    assert (await older(real, "get_access_token", client_name="pilot_server")).json["StatusCode"] == 50


async def test_a_token_that_somebody_else_writes_is_read_from_his_file_and_needs_no_key(
    real: Real, state: Path, credentials: Path
) -> None:
    await allow(real, "p")
    keep(state / "token_cache_config.json", json.dumps({"c": {"token_file_path": str(state / "by_others")}}))
    keep(credentials / "access_token_c", "ours")
    keep(state / "by_others", "theirs", 0o640)
    assert (await rest(real, "get_access_token", client_name="c"))["data"]["userProxy"] == "theirs"


@pytest.mark.parametrize("name", ["other", "../../etc/passwd", "c/../c", "", ".", "access_token_c"])
async def test_a_token_is_only_of_clients_that_are_configured(
    real: Real, state: Path, credentials: Path, name: str
) -> None:
    await allow(real, "p")
    keep(state / "token_cache_config.json", json.dumps({"c": {"token_file_path": str(state / "none")}}))
    keep(credentials / "access_token_other", "x")
    got = await older(real, "get_access_token", client_name=name)
    assert ast.literal_eval(got.text) == {"StatusCode": 90, "errorDialog": f"token not found for {name}"}


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
async def test_without_a_readable_file_of_clients_there_are_no_tokens(real: Real, state: Path, content: str) -> None:
    await allow(real, "p")
    path = state / "token_cache_config.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    got = await older(real, "get_access_token", client_name="c")
    assert got.json == {"StatusCode": 90, "errorDialog": "the clients of tokens are not known"}
    path.unlink()
    assert (await older(real, "get_access_token", client_name="c")).json["StatusCode"] == 90


async def test_a_token_that_was_never_written_or_is_empty_is_not_found(
    real: Real, state: Path, credentials: Path
) -> None:
    await allow(real, "p")
    keep(state / "token_cache_config.json", json.dumps({"c": {"token_file_path": str(state / "by_others")}}))
    for _ in range(2):
        told = await rest(real, "get_access_token", client_name="c")
        assert told["message"] == "token of c not found"
        keep(state / "by_others", "")


async def test_the_longest_lived_key_of_a_client_is_told_with_the_letter_t(real: Real) -> None:
    real.run(KEY)
    await allow(real, "t")
    assert await rest(real, "get_token_key", client_name="pilot_server") == {
        "success": True,
        "message": "",
        "data": {"tokenKey": "new-key"},
    }
    assert (await older(real, "get_token_key", JSON, client_name="pilot_server")).json == {
        "StatusCode": 0,
        "tokenKey": "new-key",
    }
    got = await older(real, "get_token_key", client_name="pilot_server")
    assert got.text == "StatusCode=0&tokenKey=new-key"


async def test_a_key_that_is_younger_than_what_is_known_opens_at_once(
    real: Real, state: Path, credentials: Path
) -> None:
    await allow(real, "pt")
    client = {"token_file_path": str(state / "t"), "use_token_key": True}
    keep(state / "token_cache_config.json", json.dumps({"pilot_server": client}))
    keep(state / "t", "token")
    real.run(KEY)
    got = await older(real, "get_access_token", client_name="pilot_server", token_key="old-key")
    assert got.json["userProxy"] == "token"
    assert (await older(real, "get_token_key", JSON, client_name="pilot_server")).json["tokenKey"] == "new-key"


async def test_a_client_without_a_key_is_status_code_80(real: Real) -> None:
    real.run(KEY)
    await allow(real, "t")
    text = "token key is missing for 'x'"
    assert await rest(real, "get_token_key", client_name="x") == {"success": False, "message": text, "data": None}
    got = await older(real, "get_token_key", client_name="x")
    assert parse_qs(got.text) == {"StatusCode": ["80"], "errorDialog": [text]}


async def test_a_key_pair_is_given_under_the_names_of_both_dialects(real: Real, state: Path) -> None:
    await allow(real, "k")
    keep(state / "keys" / "id.pub", "public", 0o644)
    keep(state / "keys" / "id", "private")
    found = await rest(real, "get_key_pair", public_key_name="id.pub", private_key_name="id")
    assert found["data"] == {
        "public_key": "public",
        "private_key": "private",
        "publicKey": "public",
        "privateKey": "private",
    }
    got = await older(real, "getKeyPair", JSON, publicKeyName="id.pub", privateKeyName="id")
    assert got.json == {"StatusCode": 0, "publicKey": "public", "privateKey": "private"}
    got = await older(real, "getKeyPair", publicKeyName="id.pub", privateKeyName="id")
    assert got.text == "StatusCode=0&publicKey=public&privateKey=private"


@pytest.mark.parametrize(
    "name",
    ["none", "../secret", "/etc/passwd", "..", ".", ".hidden", "sub/key", "out", "ring", "x" * 300, "a%00b", "sub"],
)
async def test_names_of_keys_do_not_leave_the_directory(real: Real, state: Path, name: str) -> None:
    await allow(real, "k")
    keys = state / "keys"
    keep(keys / "good", "good")
    keep(keys / ".hidden", "x")
    keep(keys / "sub" / "key", "x")
    keep(state / "secret", "x")
    (keys / "out").symlink_to(state / "secret")
    (keys / "ring").symlink_to(keys / "ring")
    for pair in ({"public": name, "private": "good"}, {"public": "good", "private": name}):
        told = await rest(real, "get_key_pair", public_key_name=pair["public"], private_key_name=pair["private"])
        assert (told["success"], told["data"]) == (False, None)
        assert told["message"].startswith(f"{name} is ")
        got = await older(real, "getKeyPair", JSON, publicKeyName=pair["public"], privateKeyName=pair["private"])
        assert got.json["StatusCode"] == 80
        assert got.json["errorDialog"].startswith(f"{name} is ")


@pytest.mark.parametrize("mode", [None, 0o644])
async def test_a_refused_key_asks_no_name_service_in_the_reactors_thread(
    real: Real, state: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    """The refusal names this host, and a name service that hangs would hold up all else."""

    def look_up(name: str = "") -> str:
        assert threading.current_thread() is not threading.main_thread()
        return "this.host"

    await allow(real, "k")
    if mode is not None:
        keep(state / "keys" / "private", "x", mode)
    keep(state / "keys" / "public", "y")
    monkeypatch.setattr(socket, "getfqdn", look_up)
    got = await older(real, "getKeyPair", JSON, publicKeyName="public", privateKeyName="private")
    told = got.json["errorDialog"]
    assert told == "private is missing on this.host" or told.startswith("private is not given out by this.host: ")


async def test_a_link_that_stays_inside_is_followed_as_kubernetes_makes_them(real: Real, state: Path) -> None:
    await allow(real, "k")
    keep(state / "keys" / "..data" / "id", "private")
    (state / "keys" / "id").symlink_to("..data/id")
    found = await rest(real, "get_key_pair", public_key_name="id", private_key_name="id")
    assert found["data"]["private_key"] == "private"


@pytest.mark.parametrize(("name", "content"), [("private", "x"), ("public", "-----BEGIN RSA PRIVATE KEY-----\nx")])
async def test_a_private_key_that_others_on_the_machine_can_read_is_not_given_out(
    real: Real, state: Path, name: str, content: str
) -> None:
    await allow(real, "k")
    keep(state / "keys" / name, content, 0o644)
    keep(state / "keys" / ("public" if name == "private" else "private"), "y")
    got = await older(real, "getKeyPair", JSON, publicKeyName="public", privateKeyName="private")
    assert got.json["StatusCode"] == 80
    assert got.json["errorDialog"].startswith(f"{name} is not given out by ")
    assert got.json["errorDialog"].endswith("its mode is 0644, and others must not be able to read it")


async def test_proxies_and_tokens_that_others_can_read_are_given_out_with_one_warning(
    real: Real, state: Path, credentials: Path
) -> None:
    """As Kubernetes mounts them."""
    await allow(real, "p")
    proxy, token = credentials / file_name("/DC=x/CN=Some User", None), state / "t"
    keep(proxy, PEM, 0o644)
    keep(state / "token_cache_config.json", json.dumps({"c": {"token_file_path": str(token)}}))
    keep(token, "token", 0o604)
    with capturedLogs() as events:
        for _ in range(2):
            assert (await older(real, "getProxy")).json["userProxy"] == PEM
            assert (await older(real, "get_access_token", client_name="c")).json["userProxy"] == "token"
        for mode in (0o600, 0o604):
            token.chmod(mode)
            await older(real, "get_access_token", client_name="c")
    told = [(event["path"], event["mode"]) for event in events if event["log_level"].name == "warn"]
    assert told == [(str(proxy), "0644"), (str(token), "0604"), (str(token), "0604")]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * ((1 << 20) + 1)])
async def test_a_file_that_is_no_text_or_far_too_large_is_not_given_out(
    real: Real, state: Path, content: bytes
) -> None:
    await allow(real, "k")
    keep(state / "keys" / "id", "")
    (state / "keys" / "id").write_bytes(content)
    got = await older(real, "getKeyPair", JSON, publicKeyName="id", privateKeyName="id")
    assert (got.json["StatusCode"], "it is " in got.json["errorDialog"]) == (80, True)


async def change(real: Real, **values: Any) -> Any:
    body = json.dumps(values).encode()
    return (await real.ask("POST", "/api/v1/creds/set_user_secrets", body, content_type=JSON, accept=JSON)).json


async def mine(real: Real, **keys: Any) -> dict[str, str]:
    """As panda-client reads them: ``data`` is a JSON text."""
    found: dict[str, str] = json.loads((await rest(real, "get_user_secrets", **keys))["data"])
    return found


async def test_secrets_are_kept_changed_and_removed_as_pbook_does_it(real: Real) -> None:
    real.caller = USER
    assert (await rest(real, "get_user_secrets")) == {"success": True, "message": "", "data": "{}"}
    assert await change(real, key="a", value="1") == {"success": True, "message": "OK", "data": None}
    await change(real, key="___file___:f", value="Mg==")
    assert await mine(real) == {"a": "1", "___file___:f": "Mg=="}
    assert await mine(real, keys=["a", "z"]) == {"a": "1"}
    await change(real, key="f", value=None)
    assert await mine(real) == {"a": "1"}
    await change(real, key=None, value=None)
    assert await mine(real) == {}


async def test_the_pilot_reads_its_secrets_as_a_list_in_json(real: Real) -> None:
    real.caller = PILOT
    for key, value in (("MB_USERNAME", "u"), ("MB_PASSWORD", "p"), ("OTHER", "o")):
        assert (await older(real, "set_user_secret", key=key, value=value)).json == [True, "OK"]
    got = await older(real, "get_user_secrets", JSON, get_json="True", keys="MB_USERNAME,MB_PASSWORD")
    assert got.json == [True, {"MB_USERNAME": "u", "MB_PASSWORD": "p"}]
    got = await older(real, "get_user_secrets", keys="OTHER")
    assert got.json == [True, '{"OTHER": "o"}']
    real.caller = ANYBODY
    assert (await older(real, "get_user_secrets", JSON, get_json="True")).json[0] is False


async def test_secrets_are_their_owners_whatever_roles_others_have(real: Real) -> None:
    real.caller = USER
    await change(real, key="a", value="mine")
    for real.caller in (OTHER, PILOT, PRODUCTION):
        assert await mine(real) == {}
        await change(real, key=None)
        await change(real, key="a", value="other")
    real.caller = USER
    assert await mine(real) == {"a": "mine"}


async def test_nobody_is_the_owner_of_what_pilots_are_given(real: Real) -> None:
    real.run("INSERT INTO secrets VALUES ('pilot secrets', now(), '{\"x\": \"y\"}')")
    before = real.contents()
    for name in ("pilot secrets", "n" * 61):
        real.caller = evolve(USER, name=name)
        assert not (await change(real, key="a", value="b"))["success"]
        assert not (await change(real))["success"]
        assert not (await rest(real, "get_user_secrets"))["success"]
    assert real.contents() == before


async def test_more_than_a_job_can_carry_is_refused_and_changes_nothing(real: Real) -> None:
    real.caller = USER
    for n in range(5):
        assert (await change(real, key=f"k{n}", value="x" * 1_400_000))["success"]
    before = real.contents()
    told = await change(real, key="k5", value="x" * 1_400_000)
    assert told["message"] == "value: with it all would be more than 8000000 characters"
    assert (await change(real, key="k5", value="x" * 1_400_001))["message"].startswith("value: must be at most")
    assert (await change(real, key="", value="x"))["message"] == "key: must not be empty"
    assert real.contents() == before


async def test_who_has_too_much_already_may_remove_some_of_it(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    real.caller = USER
    for name in ("a", "b", "c"):
        await change(real, key=name, value="x" * 50)
    monkeypatch.setattr("pandatx.domain.user_secrets.LARGEST", 20)
    assert not (await change(real, key="d", value="x"))["success"]
    assert (await change(real, key="a"))["success"]
    assert sorted(await mine(real)) == ["b", "c"]


async def test_a_key_that_ends_after_it_was_read_opens_no_more(
    real: Real, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.run(KEY)
    await allow(real, "pt")
    assert (await rest(real, "get_token_key", client_name="pilot_server"))["data"] == {"tokenKey": "new-key"}
    now = real.core.facts._clock.now()
    monkeypatch.setattr(type(real.core.facts._clock), "now", lambda clock: now + timedelta(hours=91))
    text = "token key is missing for 'pilot_server'"
    assert (await rest(real, "get_token_key", client_name="pilot_server"))["message"] == text


async def test_no_secret_is_in_a_log(real: Real, state: Path, credentials: Path) -> None:
    real.run(KEY)
    await allow(real, "pkt")
    keep(state / "keys" / "id", "the-private-key")
    keep(credentials / file_name("/DC=x/CN=Some User", None), "the-proxy")
    keep(state / "token_cache_config.json", json.dumps({
        "pilot_server": {"token_file_path": str(state / "t"), "use_token_key": True, "secret": "the-client-secret"},
    }))  # fmt: skip
    keep(state / "t", "the-token")
    with capturedLogs() as events:
        await change(real, key="k", value="the-value")
        await rest(real, "get_user_secrets")
        for key in ("new-key", "wrong-key"):
            await older(real, "get_access_token", client_name="pilot_server", token_key=key)
        await older(real, "get_token_key", client_name="pilot_server")
        await older(real, "getKeyPair", publicKeyName="id", privateKeyName="id")
        await older(real, "getProxy")
    said = repr([dict(event) for event in events])
    assert "gets the" in said
    for word in ("the-value", "the-token", "the-proxy", "the-private-key", "the-client-secret", "new-key", "wrong-key"):
        assert word not in said, word


async def test_secrets_of_two_at_once_are_both_kept(real: Real) -> None:
    from twisted.internet.defer import Deferred, gatherResults

    real.caller = USER
    await gatherResults([Deferred.fromCoroutine(change(real, key=f"k{n}", value=str(n))) for n in range(5)])
    assert sorted(await mine(real)) == [f"k{n}" for n in range(5)]
    connection = psycopg2.connect(real.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT owner FROM doma_panda.secrets")
        assert cursor.fetchall() == [("Some User",)]
    connection.close()
