"""Certificates over real TLS: who is not let in is refused with the right text in both dialects, and nothing is
changed (rules R13, R23, R27-R29; issue item 4). Tokens: test_refused_tokens.py."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from attrs import define, frozen
from cryptography import x509
from cryptography.x509.oid import NameOID
from load import Connection, NoAnswer, tls
from server import SIGHUP, Home, until
from voms_authority import VomsServer, make_proxy

from pandatx.identity import authority, proxies
from pandatx.identity.authority import Credential
from pandatx.store.cluster import Cluster

NOW = datetime.now(UTC).replace(microsecond=0)
DC = "/DC=local/DC=pandatx"
PRODUCTION = "/atlas/Role=production/Capability=NULL"
PILOT = "/atlas/Role=pilot/Capability=NULL"
MEMBER = "/atlas/Role=NULL/Capability=NULL"
SECURE = "SSL secure connection is required"
ROLE = "production or pilot role required"
NO_ROLE = "no production/pilot role in VOMS FQANs or non pilot owner"
LIMITED = "a limited proxy may only ask for jobs and report on them"
VOMS = "the VOMS attributes are not accepted: "
NO_RIGHTS = "the policy of the proxy gives it no rights of its issuer, or none that are known here"
LEGACY_KIND = (
    f"the certificate of {DC}/CN=jane is refused: it is no CA, yet it has signed another: "
    "a proxy of the legacy Globus kind? Only RFC 3820 proxies are taken"
)
TABLES = "SELECT schemaname, relname FROM pg_stat_user_tables WHERE schemaname LIKE 'doma_%' OR relname = 'owners'"
DIGEST = "SELECT '{0}.{1}', md5(coalesce(string_agg(t::text, ' ' ORDER BY t::text), '')) FROM {0}.{1} t"


@define(eq=False)
class OverTls(Connection):
    """A connection with a certificate, or without one."""

    def _connect(self) -> http.client.HTTPConnection:
        context = tls(self.home.path, self.certificate or None)
        return http.client.HTTPSConnection("localhost", self.home.https_port, timeout=self.timeout, context=context)


@define(eq=False)
class Served:
    """A server, its CA, and a VO that it knows."""

    home: Home
    dsn: str
    ca: Credential
    atlas: VomsServer
    process: Any
    _number: int = 0

    def user(self, name: str, dc: str = DC) -> Credential:
        return authority.make_user(self.ca, f"{dc}/CN={name}", NOW)

    def asks(self, credential: Credential | None) -> OverTls:
        if credential is None:
            return OverTls(self.home, "")
        self._number += 1
        file = f"caller{self._number}.pem"
        (self.home.path / file).write_bytes(credential.pem())
        return OverTls(self.home, file)

    def contents(self) -> Mapping[str, str]:
        """A digest of each table's rows."""
        with psycopg2.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(TABLES)
            cursor.execute(" UNION ALL ".join(DIGEST.format(*table) for table in cursor.fetchall()))
            return dict(cursor.fetchall())

    def run(self, statement: str) -> None:
        with psycopg2.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.fixture(scope="module")
def served(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("callers")
    administer = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    administer.autocommit = True
    administer.cursor().execute(f"CREATE DATABASE callers TEMPLATE {template} OWNER panda STRATEGY file_copy")
    dsn = cluster.dsn("callers")
    server = {"production_dns": f"Big Chief, {DC}/CN=production", "pilot_owners": f"{DC}/CN=pilot"}
    home = Home.make(folder / "panda", (cluster, "callers"), server=server)
    ca = authority.load((home.path / "ca-key.pem").read_bytes())
    atlas = VomsServer.make("atlas", ca, NOW)
    atlas.trust(home.path / "vomsdir")
    served = Served(home, dsn, ca, atlas, home.server("--roles", "http"))
    served.run(
        f"""INSERT INTO doma_pandameta.users (id, name, dn, status) VALUES (77, 'ban ned', 'x', 'disabled');
        INSERT INTO pandatx.owners (name, subject, first_seen) VALUES
        ('alice', '{DC}/CN=alice', '2026-01-01'), ('Big Chief', '{DC}/CN=Big Chief', '2026-01-01')"""
    )
    served.process.start()
    yield served
    home.end()
    administer.cursor().execute("DROP DATABASE callers WITH (FORCE)")
    administer.close()


@frozen(kw_only=True)
class Said:
    """What a caller is told: by calls that need a certificate (None: they are allowed) or a role, in both dialects, by
    getJob, and by updateWorkerPilotStatus."""

    secure: str | None
    role: str
    get_job: str = NO_ROLE
    worker: str


def nobody(why: str) -> Said:
    """Without a certificate, or with one that makes its holder nobody."""
    text = f": {why}" if why else ""
    return Said(secure=SECURE + text, role=SECURE + text, get_job=NO_ROLE + text, worker=f"failed to retrieve DN{text}")


def no_role(why: str) -> Said:
    """A user whose VOMS attributes are not believed."""
    text = f": {VOMS}{why}" if why else ""
    worker = f"production or pilot role is required{text}"
    return Said(secure=None, role=ROLE + text, get_job=NO_ROLE + text, worker=worker)


def with_attributes(**how: Any) -> Any:
    return lambda served: served.atlas.proxy(served.user("jane"), [PRODUCTION, MEMBER], NOW, **how)


def of_jane(**how: Any) -> Any:
    return lambda served: make_proxy(served.user("jane"), NOW, **how)


def stolen(served: Served) -> Credential:
    """Jane's proxy with the attributes of another."""
    attributes = served.atlas.certificate(served.user("boss").cert, [PRODUCTION], NOW)
    return make_proxy(served.user("jane"), NOW, attributes=[attributes])


def of_another_vo(served: Served) -> Credential:
    return served.atlas.proxy(served.user("jane"), ["/cms/Role=production"], NOW, vo="cms")


def signed_by_another(served: Served) -> Credential:
    """By a server of another VO, with a certificate of a trusted CA."""
    other = VomsServer.make("cms", served.ca, NOW)
    return other.proxy(served.user("jane"), [PRODUCTION], NOW, vo="atlas")


def limited(served: Served) -> Credential:
    return authority.make_proxy(served.user("jane"), NOW, limited=True)


def named_like_a_dn(served: Served) -> Credential:
    """Its one CN has all of another's DN in it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"x{DC}/CN=production")])
    builder, key = authority._end_entity(served.ca, name, NOW, 10)
    return authority._signed(builder, key, served.ca)


REFUSED = {
    "no certificate": (lambda served: None, nobody("")),
    "limited proxy": (
        limited,
        Said(secure=f"{SECURE}: {LIMITED}", role=f"{SECURE}: {LIMITED}", worker=f"failed to retrieve DN: {LIMITED}"),
    ),
    "independent proxy": (of_jane(policy=proxies.INDEPENDENT_POLICY), nobody(NO_RIGHTS)),
    "proxy with a policy that nobody knows": (of_jane(policy=x509.ObjectIdentifier("1.2.3.4")), nobody(NO_RIGHTS)),
    "proxy of the legacy kind": (of_jane(legacy=True, last_name="proxy"), nobody(LEGACY_KIND)),
    "user without a role": (lambda served: served.user("jane"), no_role("")),
    "VOMS signature forged": (
        with_attributes(forged="/atlas/Role=production/Capability=LLUN"),
        no_role("their signature is wrong"),
    ),
    "VOMS attributes of another holder": (stolen, no_role("they were issued to another certificate")),
    "VOMS attributes expired": (with_attributes(start=NOW - timedelta(days=1)), no_role("they have expired")),
    "VOMS attributes of a VO without a signer": (of_another_vo, no_role("the VO cms has no signer in vomsdir")),
    "VOMS attributes signed by another VO's server": (
        signed_by_another,
        no_role(f"their signer {DC}/CN=voms.cms is none of those of the VO atlas in vomsdir"),
    ),
    "a name that contains an entry of production_dns": (lambda served: served.user("not Big Chief"), no_role("")),
    "a name that looks like a DN of production_dns": (
        named_like_a_dn,
        no_role(""),
    ),
}


@pytest.mark.parametrize(("who", "told"), REFUSED.values(), ids=REFUSED)
def test_who_is_refused_is_told_why_in_both_dialects_and_changes_nothing(served: Served, who: Any, told: Said) -> None:
    asked, before = served.asks(who(served)), served.contents()
    killed, debug = asked.v1("job/kill", job_ids=[1]), asked.legacy("setDebugMode", pandaID=1, modeOn="True")
    assert (killed.status, debug.status) == (200, 200)
    if told.secure is None:
        assert killed.json["success"]
        assert SECURE not in debug.body.decode()
    else:
        assert killed.json == {"success": False, "message": told.secure, "data": None}
        assert debug.body.decode() == told.secure
    daemons = asked.get("pandatx/list_daemons")
    assert (daemons.status, daemons.json) == (200, {"success": False, "message": told.role, "data": None})
    command = asked.legacy("send_command_to_job", panda_id=1, com="tobekilled")
    assert (command.status, json.loads(command.body)) == (200, [False, told.role])
    job = asked.legacy("getJob", siteName="NONE", prodSourceLabel="managed")
    assert (job.status, job.fields) == (200, {"StatusCode": "60", "errorDialog": told.get_job})
    worker = asked.legacy("updateWorkerPilotStatus", workerID=1, harvesterID="h", status="started")
    assert (worker.status, worker.body.decode()) == (200, told.worker)
    assert served.contents() == before


def test_attributes_that_are_in_order_give_their_role(served: Served) -> None:
    producer = served.asks(served.atlas.proxy(served.user("producer"), [PRODUCTION, MEMBER], NOW))
    assert producer.get("pandatx/list_daemons").json["success"]
    pilot = served.asks(served.atlas.proxy(served.user("someone's pilot"), [PILOT], NOW))
    assert pilot.legacy("getJob", siteName="NONE", prodSourceLabel="managed").fields["StatusCode"] == "20"
    assert pilot.get("pandatx/list_daemons").json["message"] == ROLE
    member = served.asks(served.atlas.proxy(served.user("jane"), [MEMBER], NOW))
    assert member.get("pandatx/list_daemons").json["message"] == ROLE
    assert member.v1("job/kill", job_ids=[1]).json["success"]


def test_a_limited_proxy_of_a_pilot_gets_jobs_and_reports_and_does_nothing_else(served: Served) -> None:
    pilot = authority.load((served.home.path / "pilot.pem").read_bytes())
    asked = served.asks(authority.make_proxy(pilot, NOW, limited=True))
    assert asked.legacy("getJob", siteName="NONE", prodSourceLabel="managed").fields["StatusCode"] == "20"
    assert asked.v1("pilot/acquire_jobs", site_name="NONE").json["message"] != f"{SECURE}: {LIMITED}"
    for call in ("updateJob", "pilot/update_job"):
        report = {"jobId": 1, "state": "running"} if call == "updateJob" else {"job_id": 1, "job_status": "running"}
        said = asked.legacy(call, **report) if call == "updateJob" else asked.v1(call, **report)
        assert SECURE not in said.body.decode()
    worker = asked.v1("pilot/update_worker_status", worker_id=1, harvester_id="h", status="started", site="LOCAL")
    assert worker.json["message"] == f"{SECURE}: {LIMITED}"
    assert asked.v1("job/kill", job_ids=[1]).json["message"] == f"{SECURE}: {LIMITED}"


# Names.


def test_a_second_subject_with_the_name_of_an_owner_is_refused_wherever_it_would_act_by_it(served: Served) -> None:
    other, before = served.user("alice", "/DC=local/DC=elsewhere"), served.contents()
    asked = served.asks(other)
    why = "the name alice belongs to another identity than /DC=local/DC=elsewhere/CN=alice"
    for answer in (
        asked.v1("job/kill", job_ids=[1]),
        asked.v1("job/submit", jobs=[{}]),
        asked.get("pandatx/list_jobs"),
    ):
        assert (answer.status, answer.json) == (200, {"success": False, "message": why, "data": None})
    assert asked.legacy("setDebugMode", pandaID=1, modeOn="True").body.decode() == why
    refused = {"StatusCode": "70", "errorDialog": why}
    assert asked.legacy("getJob", siteName="NONE", prodSourceLabel="user").fields == refused
    assert asked.legacy("updateJob", jobId=1, state="running").fields == refused
    assert asked.legacy("isAlive").body == b"alive=yes"
    assert served.contents() == before
    mine = served.asks(authority.make_proxy(served.user("alice"), NOW))
    assert mine.v1("job/kill", job_ids=[1]).json["success"]


def test_a_display_name_equal_to_an_entry_of_production_dns_gives_no_role_when_the_name_is_anothers(
    served: Served,
) -> None:
    """R27 lets an entry be a compact name; who has had the name first is the one who is meant."""
    chief = served.asks(served.user("Big Chief"))
    assert chief.get("pandatx/list_daemons").json["success"]
    namesake = served.asks(served.user("Big Chief", "/DC=local/DC=elsewhere"))
    why = "the name Big Chief belongs to another identity than /DC=local/DC=elsewhere/CN=Big Chief"
    assert namesake.get("pandatx/list_daemons").json == {"success": False, "message": why, "data": None}
    command = namesake.legacy("send_command_to_job", panda_id=1, com="tobekilled")
    assert json.loads(command.body) == [False, why]


def test_an_operator_sees_releases_and_shares_names(served: Served) -> None:
    served.run(f"INSERT INTO pandatx.owners VALUES ('moved', '{DC}/CN=old/CN=moved', '2026-01-02')")
    moved = served.asks(served.user("moved", "/DC=local/DC=new"))
    assert "belongs to another identity" in moved.v1("job/kill", job_ids=[1]).json["message"]
    command = served.home.command
    assert command("owner", "show", "moved").stdout == f"moved: {DC}/CN=old/CN=moved since 2026-01-02 00:00:00 UTC\n"
    shared = command("owner", "admit", "moved", "/DC=local/DC=new/CN=moved")
    assert shared.stdout.splitlines()[1] == "moved: /DC=local/DC=new/CN=moved too"
    assert moved.v1("job/kill", job_ids=[1]).json["success"]
    assert command("owner", "release", "moved").returncode == 0
    gone = command("owner", "show", "moved")
    assert (gone.returncode, gone.stderr) == (1, "pandatx: the name moved belongs to nobody yet\n")
    user = served.asks(served.user("jane")).v1("pandatx/release_owner", name="alice")
    assert user.json["message"] == ROLE


# Others.


def test_a_banned_user_is_refused_everything_in_both_dialects_and_submits_nothing(served: Served) -> None:
    """Scenario 27 of reference/lifecycle.md 10."""
    asked, before = served.asks(authority.make_proxy(served.user("ban ned"), NOW)), served.contents()
    envelope = {"success": False, "message": "ban ned is banned", "data": None}
    for answer in (asked.v1("job/submit", jobs=[{}]), asked.v1("job/kill", job_ids=[1]), asked.get("system/is_alive")):
        assert (answer.status, answer.json) == (403, envelope)
    for method in ("submitJobs", "getJob", "updateJob", "insertTaskParams", "isAlive", "nothing"):
        answer = asked.legacy(method, siteName="LOCAL", jobs="[]")
        assert (answer.status, answer.body.decode()) == (403, "ERROR : ban ned is banned"), method
    assert served.contents() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_the_form_of_a_foreign_page_is_refused_though_the_browser_offers_a_certificate(
    served: Served, headers: dict[str, str]
) -> None:
    asked, before = OverTls(served.home, "production.pem"), served.contents()
    form = {"Content_Type": "application/x-www-form-urlencoded", **headers}
    why = "calls from pages of other sites are refused"
    rest = asked.ask("POST", "/api/v1/job/kill", b"job_ids=1", **form)
    assert (rest.status, rest.json) == (403, {"success": False, "message": why, "data": None})
    legacy = asked.ask("POST", "/server/panda/send_command_to_job", b"panda_id=1&com=tobekilled", **form)
    assert (legacy.status, legacy.body.decode()) == (403, f"ERROR : {why}")
    assert served.contents() == before


# What is reread without a restart.


def test_signers_and_revocation_lists_are_reread_on_sighup_for_connections_that_are_open_too(served: Served) -> None:
    chief = served.asks(served.atlas.proxy(served.user("someone"), [PRODUCTION], NOW))
    assert chief.get("pandatx/list_daemons").json["success"]
    file = served.home.path / "vomsdir" / "atlas" / "voms.example.org.lsc"
    trusted = file.read_text()
    file.unlink()
    said = reread(served, chief, lambda answer: not answer.json["success"])
    assert said.json["message"] == f"{ROLE}: {VOMS}the VO atlas has no signer in vomsdir"
    file.write_text(trusted)
    assert reread(served, chief, lambda answer: answer.json["success"]).status == 200

    crl = served.home.path / "certificates" / "test.r0"
    crl.write_bytes(authority.make_crl(served.ca, [served.atlas.host.cert], NOW))
    said = reread(served, chief, lambda answer: not answer.json["success"])
    assert said.json["message"] == f"{ROLE}: {VOMS}the certificate of {served.atlas.host.dn} is revoked"
    user = served.user("revoked")
    asked = served.asks(make_proxy(user, NOW))
    assert asked.v1("job/kill", job_ids=[1]).json["success"]
    crl.write_bytes(authority.make_crl(served.ca, [user.cert], NOW))
    served.process.signal(SIGHUP)
    until(lambda: not asked.v1("job/kill", job_ids=[1]).json["success"], "a revoked user is refused")
    assert asked.v1("job/kill", job_ids=[1]).json["message"] == f"{SECURE}: {user.dn} is revoked"
    with pytest.raises(NoAnswer):
        served.asks(make_proxy(user, NOW)).v1("job/kill", job_ids=[1])
    crl.unlink()


def reread(served: Served, asked: OverTls, there: Any) -> Any:
    served.process.signal(SIGHUP)
    return until(lambda: answer if there(answer := asked.get("pandatx/list_daemons")) else None, "the files are reread")


def test_a_cause_is_one_warning_in_the_log_for_each_holder(served: Served) -> None:
    user = served.user("unlucky")
    for _ in range(3):
        attributes = [served.atlas.certificate(user.cert, [PRODUCTION], NOW, start=NOW - timedelta(days=1))]
        served.asks(make_proxy(user, NOW, attributes=attributes)).v1("job/kill", job_ids=[1])
    warnings = [line for line in served.process.logged().splitlines() if "CN=unlucky" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(f"{DC}/CN=unlucky: {VOMS}they have expired")


def test_what_a_chain_says_of_its_holder_is_shown_to_them(served: Served) -> None:
    proxy = served.atlas.proxy(served.user("jane"), [MEMBER], NOW)
    shown = served.asks(proxy).get("system/get_voms_attributes").json["data"]
    words = [value.split(" ", 4) for _, value in sorted(shown.items()) if value]
    assert [(word[0], word[-1]) for word in words if word[0] in ("X509USER", "GSIPROXY", "VOMS")] == [
        ("X509USER", f"{DC}/CN=jane"),
        ("GSIPROXY", f"{DC}/CN=jane/CN=1234567"),
        ("VOMS", MEMBER),
    ]
