"""Tokens over real TLS: each that is not good is refused with its text in both dialects, on every operation; good ones
are let in as whom they name (rules R13, R24, R25, R27; reference/wire.md 1.5.3)."""

from __future__ import annotations

import gzip
import hmac
import http.client
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import jwt
import psycopg2
import pytest
from attrs import define
from issuer import CLIENT, ROBOT, Issuer, IssuerProcess, client_file, public_pem, rsa_key
from load import Answer, Connection, tls
from server import SIGHUP, Home, until

from pandatx.store.cluster import Cluster

FAILED = "Token authentication failed. "
PRODUCER = "Produce Er"


@define(eq=False)
class Bearer(Connection):
    """A connection that brings a token; by default over TLS without a certificate."""

    token: str = ""
    origin: str | None = "atlas"
    plain: bool = False

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.origin is not None:
            named["Origin"] = self.origin
        return Connection.ask(self, verb, path, body, **{**named, **headers})

    def _connect(self) -> http.client.HTTPConnection:
        if self.plain:
            return http.client.HTTPConnection("localhost", self.home.http_port, timeout=self.timeout)
        context = tls(self.home.path, self.certificate or None)
        return http.client.HTTPSConnection("localhost", self.home.https_port, timeout=self.timeout, context=context)


@define(eq=False)
class Served:
    """A server that takes tokens, and their issuer."""

    home: Home
    issuer: Issuer
    other: Issuer

    def bearer(self, token: str, origin: str | None = "atlas", **more: Any) -> Bearer:
        return Bearer(self.home, more.pop("certificate", ""), token=token, origin=origin, **more)

    def asks(self, origin: str | None = "atlas", *, certificate: str = "", **claims: Any) -> Bearer:
        return self.bearer(self.issuer.token(**claims), origin, certificate=certificate)


@pytest.fixture(scope="module")
def served(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tokens")
    administer = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    administer.autocommit = True
    administer.cursor().execute(f"CREATE DATABASE tokens TEMPLATE {template} OWNER panda STRATEGY file_copy")
    server = {"token_authType": "oidc", "production_dns": f"{PRODUCER}, /DC=local/DC=pandatx/CN=production"}
    home = Home.make(folder / "panda", (cluster, "tokens"), server=server)
    other = Issuer("http://127.0.0.1:9", keys={"first": rsa_key(1)})
    with IssuerProcess(folder) as issuer:
        write(home, "atlas", client_file(issuer, auto_roles=[]))
        write(home, "atlas:production", client_file(issuer, client_id="prod", robot_ids=[ROBOT]))
        write(home, "cms", client_file(other, client_id="cms", vo="cms"))
        write(home, "broken", "{")
        tables = home.tables()
        tables.query(
            "INSERT INTO doma_pandameta.users (id, name, dn, status) VALUES (77, 'Ban Ned', 'Ban Ned', 'disabled')"
        )
        tables.close()
        home.server().start()
        yield Served(home, issuer, other)
        home.end()
    administer.cursor().execute("DROP DATABASE tokens WITH (FORCE)")
    administer.close()


def write(home: Home, name: str, text: str) -> None:
    (home.path / "auth" / f"{name}_auth_config.json").write_text(text)


def forged(token: str, header: dict[str, Any], secret: bytes) -> str:
    """A token with a shared-secret signature; PyJWT itself does not make one with a public key."""
    head = jwt.utils.base64url_encode(json.dumps(header).encode())
    text = head + b"." + token.split(".")[1].encode()
    return (text + b"." + jwt.utils.base64url_encode(hmac.new(secret, text, sha256).digest())).decode()


def is_refused(asked: Bearer, why: str) -> None:
    """Everywhere, for operations that anybody may call as well, and for names that nobody serves."""
    for method in ("isAlive", "getJob", "updateJob", "nothing"):
        answer = asked.legacy(method, siteName="LOCAL")
        assert (answer.status, answer.body.decode()) == (403, f"ERROR : {FAILED}{why}"), method
    envelope = {"success": False, "message": FAILED + why, "data": None}
    for path in ("pilot/acquire_jobs", "job/kill", "nothing/at_all"):
        answer = asked.v1(path, job_ids=[1])
        assert (answer.status, answer.json) == (403, envelope), path
    answer = asked.get("system/is_alive")
    assert (answer.status, answer.json) == (403, envelope)


def test_a_good_token_is_let_in_as_its_holder_without_a_role(served: Served) -> None:
    asked = served.asks()
    assert asked.legacy("isAlive").body == b"alive=yes"
    assert asked.get("system/is_alive").json["success"]
    assert asked.v1("job/kill", job_ids=[1]).json["success"]
    assert asked.legacy("getJob", siteName="NONE", prodSourceLabel="user").fields["StatusCode"] == "20"
    worker = asked.legacy("updateWorkerPilotStatus", workerID=1, harvesterID="h", status="started")
    assert worker.body == b"production or pilot role is required"


@pytest.mark.parametrize("origin", ["atlas:pilot", "atlas.pilot"])
def test_a_pilots_role_comes_with_its_group(served: Served, origin: str) -> None:
    asked = served.asks(origin)
    answer = asked.legacy("getJob", siteName="NONE", prodSourceLabel="managed")
    assert answer.fields["StatusCode"] == "20"
    worker = asked.legacy("updateWorkerPilotStatus", workerID=1, harvesterID="h", status="started")
    assert worker.fields["StatusCode"] == "0" or b"role" not in worker.body


def test_a_robot_has_the_role_of_its_file(served: Served) -> None:
    robot = served.issuer.robots_token()
    for origin in ("atlas:production", "atlas.production"):
        asked = served.bearer(robot, origin)
        worker = asked.legacy("updateWorkerPilotStatus", workerID=1, harvesterID="h", status="started")
        assert b"role" not in worker.body
    is_refused(served.bearer(robot, "atlas:pilot"), "Not a member of the atlas/pilot group")


def test_a_token_of_another_issuer_or_key_is_refused(served: Served) -> None:
    is_refused(served.asks(iss="https://somebody.example/"), "Invalid token. Invalid issuer")
    forged_elsewhere = served.issuer.token(key=rsa_key(1))
    is_refused(served.bearer(forged_elsewhere), "Invalid token. Signature verification failed")
    is_refused(served.asks(kid="unknown"), "Invalid token. JWK not found for kid=unknown")
    is_refused(served.asks(kid=None), "Invalid token. cannot extract kid from headers")


def test_an_issuer_of_another_vo_that_cannot_be_reached_is_told_and_stops_no_others(served: Served) -> None:
    answer = served.bearer(served.other.token(aud="cms", groups=["cms"]), "cms").legacy("isAlive")
    assert answer.status == 403
    assert answer.body.decode().startswith(f"ERROR : {FAILED}The keys of the token issuer cannot be had: 127.0.0.1")
    assert served.asks().legacy("isAlive").body == b"alive=yes"


def test_a_token_for_somebody_else_is_refused(served: Served) -> None:
    is_refused(served.asks(aud="https://storage.example"), "Invalid token. cannot extract client_id from token")
    stolen = served.asks(aud="https://storage.example", client_id=CLIENT)
    is_refused(stolen, "Invalid token. Audience doesn't match")


def test_a_token_signed_by_nobody_or_with_the_public_key_is_refused(served: Served) -> None:
    why = "Invalid token. The specified alg value is not allowed"
    token = served.issuer.token()
    is_refused(served.bearer(served.issuer.token(alg="none")), why)
    is_refused(served.bearer(forged(token, {"alg": "HS256", "kid": "first"}, public_pem(rsa_key()))), why)
    is_refused(served.bearer(served.issuer.token(alg="RS512")), why)


def test_a_token_that_has_ended_or_not_begun_is_refused(served: Served) -> None:
    now = time.time()
    is_refused(served.asks(exp=now - 60), "Invalid token. Signature has expired")
    is_refused(served.asks(nbf=now + 600), "Invalid token. The token is not yet valid (nbf)")
    is_refused(served.asks(iat=now + 600, nbf=None), "Invalid token. The token is not yet valid (iat)")
    is_refused(served.asks(exp=None), 'Invalid token. Token is missing the "exp" claim')


def test_a_vo_or_a_group_that_the_holder_is_not_in_is_refused(served: Served) -> None:
    is_refused(served.asks("lhcb"), "Unknown vo : lhcb")
    is_refused(served.asks("broken"), "Unknown vo : broken")
    is_refused(served.asks(groups=["lhcb"]), "Not a member of the atlas group")
    is_refused(served.asks("atlas:production"), "Not a member of the atlas/production group")
    is_refused(served.asks("atlas.pilot", groups=["atlas"]), "Not a member of the atlas/pilot group")


def test_a_token_without_a_vo_in_its_origin_is_refused(served: Served) -> None:
    token = served.issuer.token()
    missing = "Origin is missing in the request headers: it names the VO"
    is_refused(served.bearer(token, None), missing)
    page = "Origin is that of a web page: a token comes with the VO in its place"
    is_refused(served.bearer(token, "https://evil.example"), page)
    is_refused(served.bearer(token, served.home.url), page)


def test_a_header_that_brings_no_bearer_token_is_refused(served: Served) -> None:
    why = 'Authorization is not one header of the form "Bearer TOKEN"'
    for header in ("Basic dXNlcjpwYXNz", "Bearer a b"):
        asked = served.bearer("")
        for answer in (asked.ask("GET", "/server/panda/isAlive", Authorization=header),):
            assert (answer.status, answer.body.decode()) == (403, f"ERROR : {FAILED}{why}"), header
    one_word = served.bearer("").ask("GET", "/server/panda/isAlive", Authorization="Bearer")
    assert (one_word.status, one_word.body.decode()[: len(FAILED) + 8]) == (403, f"ERROR : {FAILED}")
    garbled = served.bearer("nonsense").legacy("isAlive")
    assert (garbled.status, garbled.body.decode()) == (403, f"ERROR : {FAILED}Invalid token. Not enough segments")


def test_plain_http_takes_no_token(served: Served) -> None:
    why = "Tokens are taken over TLS only: use the https port"
    is_refused(served.bearer(served.issuer.token(), plain=True), why)
    for header in ({"X_Forwarded_Proto": "https"}, {"X_Forwarded_For": "127.0.0.1"}, {"Forwarded": "proto=https"}):
        forwarded = served.bearer(served.issuer.token(), plain=True).ask("GET", "/server/panda/isAlive", **header)
        assert (forwarded.status, forwarded.body.decode()) == (403, f"ERROR : {FAILED}{why}"), header


def test_an_address_that_somebody_claims_to_come_from_is_not_believed(served: Served) -> None:
    shown = served.asks().ask("GET", "/server/panda/getAttr", X_Forwarded_For="192.0.2.99").body.decode()
    assert "REMOTE_ADDR" in shown and "192.0.2.99" not in shown


@pytest.mark.parametrize("certificate", ["", "user.pem"])
def test_each_request_of_a_connection_is_its_own_tokens(served: Served, certificate: str) -> None:
    asked = served.asks(name="one ONE", sub="1", certificate=certificate)
    own = who(asked)
    assert certificate or own == "One One"
    held = asked.socket
    for name, sub in (("two TWO", "2"), ("one ONE", "1"), ("two TWO", "2")):
        asked.token = served.issuer.token(name=name, sub=sub)
        assert who(asked) == (own if certificate else name.title())
    asked.token = served.issuer.token(exp=time.time() - 60)
    assert asked.get("system/get_user_attributes").status == 403
    asked.token, asked.origin = "", None
    if certificate:
        assert who(asked) == own != "One One"
    else:
        assert not asked.get("system/get_user_attributes").json["success"]
    assert asked.socket is held, "it was one connection"


def who(asked: Bearer) -> str:
    name: str = asked.get("system/get_user_attributes").json["data"]["user_dn_clean"]
    return name


def test_a_display_name_that_stands_in_production_dns_gives_no_role(served: Served) -> None:
    asked = served.asks(name=PRODUCER, sub="another", preferred_username="er")
    listed = asked.get("pandatx/list_daemons")
    assert (listed.status, listed.json["message"]) == (200, "production or pilot role required")
    worker = asked.legacy("updateWorkerPilotStatus", workerID=1, harvesterID="h", status="started")
    assert worker.body == b"production or pilot role is required"


def test_a_banned_holder_is_refused_by_name(served: Served) -> None:
    for origin in ("atlas", "atlas:pilot"):
        asked = served.asks(origin, name="ban NED", sub="banned")
        answer = asked.legacy("getJob", siteName="LOCAL")
        assert (answer.status, answer.body) == (403, b"ERROR : Ban Ned is banned")
        answer = asked.v1("job/kill", job_ids=[1])
        assert (answer.status, answer.json["message"]) == (403, "Ban Ned is banned")


def test_a_second_subject_with_the_name_of_an_owner_is_refused(served: Served) -> None:
    first = served.asks(name="an OWNER", sub="first")
    second = served.asks(name="An Owner", sub="second")
    assert first.v1("creds/set_user_secrets", key="a", value="b").json["success"]
    why = f"the name An Owner belongs to another identity than {served.issuer.name} second"
    kept = second.v1("creds/set_user_secrets", key="a", value="c")
    assert (kept.json["success"], kept.json["message"]) == (False, why)
    told = second.get("creds/get_user_secrets")
    assert (told.json["success"], told.json["message"]) == (False, why)
    assert json.loads(first.get("creds/get_user_secrets").json["data"]) == {"a": "b"}


def test_a_certificate_beside_a_token_wins_and_the_token_must_be_good(served: Served) -> None:
    token = served.issuer.token()
    asked = served.bearer(token, certificate="production.pem")
    assert asked.get("pandatx/list_daemons").json["success"]
    assert not served.bearer(token, certificate="user.pem").get("pandatx/list_daemons").json["success"]
    expired = served.issuer.token(exp=time.time() - 60)
    is_refused(served.bearer(expired, certificate="production.pem"), "Invalid token. Signature has expired")
    page = served.bearer(token, "https://evil.example", certificate="production.pem")
    assert page.legacy("isAlive").status == 403


def test_tokens_stand_in_no_log(served: Served) -> None:
    body = gzip.compress(json.dumps({"jobId": 1, "state": "finished"}).encode())
    tokens = []
    for exp, status in ((time.time() - 60, 403), (time.time() + 60, 200)):
        tokens.append(token := served.issuer.token(exp=exp))
        asked = served.bearer(token)
        answer = asked.ask("POST", "/server/panda/updateJob", body, Content_Type="application/json")
        assert answer.status == status
        assert token not in asked.ask("GET", "/server/panda/getAttr").body.decode()
    for file in (served.home.path / "log").iterdir():
        text = file.read_text(errors="replace")
        for token in tokens:
            assert token not in text and token.rpartition(".")[2] not in text, file


def test_operators_find_the_reasons_in_the_log(served: Served) -> None:
    served.asks("lhcb").legacy("isAlive")
    served.bearer(served.issuer.token(), None).legacy("isAlive")
    logged = served.home.processes[0].logged("panda-tokens.log")
    assert "Unknown vo : lhcb (Origin lhcb from 127.0.0.1)" in logged.replace("::1", "127.0.0.1")
    assert "Origin is missing" in logged


def test_a_file_that_comes_is_read_at_sighup_and_a_bad_one_is_named_once(served: Served) -> None:
    write(served.home, "eic", client_file(served.issuer, client_id="eic", vo="eic"))
    process = served.home.processes[0]
    process.signal(SIGHUP)
    asked = served.bearer(served.issuer.token(aud="eic", groups=["/eic"]), "eic")
    until(lambda: asked.legacy("isAlive").body == b"alive=yes", "the new VO is known")
    process.signal(SIGHUP)
    assert process.logged("panda-tokens.log").count("broken_auth_config.json is not used: it is not JSON") == 1


def test_clients_find_the_issuer_in_both_spellings(served: Served) -> None:
    asked = served.bearer("", None)
    for name in ("atlas:production", "atlas.production"):
        entry = asked.ask("GET", f"/auth/{name}_auth_config.json").json
        assert (entry["client_id"], entry["client_secret"]) == ("prod", "")
    entry = asked.ask("GET", "/auth/atlas_auth_config.json").json
    assert (entry["client_secret"], entry["oidc_config_url"]) == ("public enough", served.issuer.discovery)
