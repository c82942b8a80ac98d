"""Whose signature under VOMS attributes counts for a site, and for how long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from voms_authority import (
    VomsServer,
    make_intermediate,
    make_proxy,
)
from voms_reading import (
    ATLAS,
    CA,
    CMS,
    FQANS,
    MEMBER,
    NOW,
    OTHER_CA,
    SOMEBODY,
    USER,
    found,
    reader_of,
    why,
)

from pandatx.identity import authority
from pandatx.identity.trust import Trust
from pandatx.identity.vomsdir import read_vomsdir


def test_without_a_list_nobody_speaks_for_a_vo(tmp_path):
    (tmp_path / "atlas").mkdir()
    for place in (None, tmp_path / "missing", tmp_path):
        said = why(reader_of(place), ATLAS.proxy(USER, FQANS, NOW))
        assert said.endswith("the VO atlas has no signer in vomsdir")


def test_a_signer_whose_ca_is_not_trusted_is_none(vomsdir):
    server = VomsServer.make("atlas", OTHER_CA, NOW)
    server.trust(vomsdir)
    said = why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))
    assert "the certificate of their signer is not accepted" in said
    assert found(reader_of(vomsdir, authorities=(CA.cert, OTHER_CA.cert)), server.proxy(USER, FQANS, NOW)).fqans


def test_a_signer_whose_own_certificate_has_expired_is_none(vomsdir):
    server = VomsServer.make("atlas", CA, NOW, days=-1)
    said = why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))
    assert "the certificate of their signer is not accepted: certificate has expired" in said


def test_a_user_with_the_name_of_the_server_is_no_signer(vomsdir):
    """The list names the CA above the signer, too."""
    server = VomsServer.make("atlas", OTHER_CA, NOW)
    said = why(reader_of(vomsdir, authorities=(CA.cert, OTHER_CA.cert)), server.proxy(USER, FQANS, NOW))
    assert said.endswith("is none of those of the VO atlas in vomsdir")


def test_a_proxy_of_the_server_does_not_sign_for_it(vomsdir):
    server = VomsServer(vo="atlas", host=make_proxy(ATLAS.host, NOW, subject=ATLAS.host.cert.subject))
    assert "the certificate of their signer is not accepted" in why(reader_of(vomsdir), server.proxy(USER, FQANS, NOW))


def test_a_signer_below_an_intermediate_ca_brings_it_along(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    assert found(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).fqans == FQANS
    alone = why(reader_of(tmp_path), server.proxy(USER, FQANS, NOW, signers=[server.host.cert]))
    assert "the certificate of their signer is not accepted" in alone


def test_a_list_may_end_below_the_root_and_have_several_chains(tmp_path):
    file = ATLAS.trust(tmp_path)
    old = "/DC=gone/CN=voms\n/DC=gone/CN=CA\n"
    file.write_text(f'# two\n{old}------ NEXT CHAIN ------\n"{ATLAS.host.dn}"\n{CA.dn}\n')
    assert found(reader_of(tmp_path), ATLAS.proxy(USER, FQANS, NOW)).fqans == FQANS


def test_kinds_of_parts_of_a_dn_go_by_several_names(tmp_path):
    server = VomsServer.make("atlas", CA, NOW, dn="/DC=local/CN=voms/emailAddress=voms@example.org")
    file = server.trust(tmp_path)
    file.write_text(file.read_text().replace("emailAddress", "Email"))
    assert found(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).fqans == FQANS


@pytest.mark.parametrize("text", ["", "/DC=local/DC=pandatx/CN=voms.atlas\n", "nonsense\n", "\xff"])
def test_a_list_that_cannot_be_read_is_one_warning_and_lets_nobody_in(tmp_path, text):
    file = ATLAS.trust(tmp_path)
    file.write_text(text, encoding="latin-1")
    with capturedLogs() as events:
        read_vomsdir(tmp_path)
    assert [event["path"] for event in events] == ([str(file)] if text else [])
    assert "has no signer in vomsdir" in why(reader_of(tmp_path), ATLAS.proxy(USER, FQANS, NOW))


@pytest.mark.parametrize("what", ["a file", "its folder", "the whole"])
def test_a_list_that_cannot_be_read_again_is_as_it_was_and_that_is_said_once(vomsdir, monkeypatch, what):
    """Tests may run as root, whom no permission stops."""
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    if what == "a file":
        (vomsdir / "atlas" / "voms.example.org.lsc").write_text("half of it")
    else:
        away = vomsdir / "atlas" if what == "its folder" else vomsdir
        listing = Path.iterdir

        def iterdir(self):
            if self == away:
                raise PermissionError(13, "Permission denied", str(self))
            return listing(self)

        monkeypatch.setattr(Path, "iterdir", iterdir)
    with capturedLogs() as events:
        for _ in range(2):
            reader.renew(reader.trust)
            reader.mark()
    assert [event["what"] for event in events] == ["is as it was before"]
    assert found(reader, proxy).fqans == FQANS


def test_the_older_layout_has_the_servers_certificate_in_the_folder_of_the_vo(tmp_path):
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "voms.pem").write_bytes(ATLAS.host.cert_pem())
    reader = reader_of(tmp_path)
    assert found(reader, ATLAS.proxy(USER, FQANS, NOW)).fqans == FQANS
    assert found(reader, ATLAS.proxy(USER, FQANS, NOW, signers=[])).fqans == FQANS
    assert why(reader, CMS.proxy(USER, FQANS, NOW, vo="atlas")).endswith("in vomsdir")


def test_a_certificate_that_belongs_to_no_vo_is_named_and_lets_nobody_in(tmp_path):
    (tmp_path / "voms.pem").write_bytes(ATLAS.host.cert_pem())
    with capturedLogs() as events:
        reader = reader_of(tmp_path)
    assert [event["fault"] for event in events] == ["it belongs in the folder of its VO"]
    assert why(reader, ATLAS.proxy(USER, FQANS, NOW)).endswith("the VO atlas has no signer in vomsdir")


def test_sha_1_is_taken_where_the_site_says_so(vomsdir):
    proxy = ATLAS.proxy(USER, FQANS, NOW, digest=hashes.SHA1())
    assert found(reader_of(vomsdir, sha1=True), proxy).fqans == FQANS


def test_a_key_that_is_too_short_signs_nothing(tmp_path):
    server = VomsServer.make("atlas", CA, NOW, rsa.generate_private_key(65537, 1024))
    server.trust(tmp_path)
    assert why(reader_of(tmp_path), server.proxy(USER, FQANS, NOW)).endswith("the key of their signer is too short")


# Revocation.


def test_a_signer_that_is_revoked_is_none(vomsdir):
    crl = authority.make_crl(CA, [ATLAS.host.cert], NOW)
    said = why(reader_of(vomsdir, crl), ATLAS.proxy(USER, FQANS, NOW))
    assert said.endswith(f"the certificate of {ATLAS.host.dn} is revoked")


def test_an_intermediate_ca_that_is_revoked_takes_its_servers_along(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    crl = authority.make_crl(CA, [middle.cert], NOW)
    assert why(reader_of(tmp_path, crl), server.proxy(USER, FQANS, NOW)).endswith(f"{middle.dn} is revoked")


def test_a_list_of_an_intermediate_ca_that_is_not_in_the_folder_counts(tmp_path):
    middle = make_intermediate(CA, "/DC=local/CN=middle", NOW)
    server = VomsServer.make("atlas", middle, NOW)
    server.trust(tmp_path)
    crl = authority.make_crl(middle, [server.host.cert], NOW)
    assert why(reader_of(tmp_path, crl), server.proxy(USER, FQANS, NOW)).endswith(f"{server.host.dn} is revoked")


def test_a_revocation_list_that_ran_out_holds_for_an_hour(vomsdir):
    crl = authority.make_crl(CA, [], NOW, days=1)
    reader, proxy = reader_of(vomsdir, crl), ATLAS.proxy(USER, FQANS, NOW, hours=48)
    end = NOW + timedelta(days=1, hours=1)
    assert found(reader, proxy).until == end
    assert found(reader, proxy, now=end - timedelta(seconds=1)).fqans == FQANS
    said = why(reader, proxy, now=end + timedelta(seconds=1))
    assert said.endswith(f"a revocation list for their signer {ATLAS.host.dn} is too old")


# Several of them.


def test_of_several_proxies_the_one_nearest_to_the_caller_counts(vomsdir):
    inner = ATLAS.proxy(USER, FQANS, NOW)
    outer = ATLAS.proxy(inner, (MEMBER,), NOW)
    reader = reader_of(vomsdir)
    assert found(reader, outer).fqans == (MEMBER,)
    assert found(reader, authority.make_proxy(inner, NOW)).fqans == FQANS
    expired = ATLAS.proxy(inner, (MEMBER,), NOW, start=NOW - timedelta(days=1))
    assert why(reader, expired).endswith("they have expired")


def test_of_several_certificates_in_a_proxy_each_counts_for_itself(vomsdir):
    both = [ATLAS.certificate(USER.cert, FQANS, NOW), CMS.certificate(USER.cert, ("/cms",), NOW)]
    reader = reader_of(vomsdir)
    assert found(reader, make_proxy(USER, NOW, attributes=both)).fqans == (*FQANS, "/cms")
    both[0] = ATLAS.certificate(USER.cert, FQANS, NOW, start=NOW - timedelta(days=1))
    read = found(reader, make_proxy(USER, NOW, attributes=both))
    assert (read.fqans, read.why) == (("/cms",), "the VOMS attributes are not accepted: they have expired")


# Remembered, and renewed.


def test_what_was_judged_is_not_judged_again(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    assert found(reader, proxy) is found(reader, proxy)


def test_a_list_that_is_taken_away_counts_from_the_next_reading(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW)
    assert found(reader, proxy).fqans
    mark = reader.mark()
    (vomsdir / "atlas" / "voms.example.org.lsc").unlink()
    assert reader.mark() != mark
    generation = reader.generation
    reader.renew(Trust((CA.cert,)))
    assert reader.generation == generation + 1
    assert why(reader, proxy).endswith("the VO atlas has no signer in vomsdir")


def test_a_refusal_is_thought_over_after_a_minute(vomsdir):
    reader, proxy = reader_of(vomsdir), ATLAS.proxy(USER, FQANS, NOW, start=NOW + timedelta(minutes=5, seconds=30))
    assert why(reader, proxy).endswith("not valid yet")
    assert why(reader, proxy, now=NOW + timedelta(seconds=59)).endswith("not valid yet")
    assert found(reader, proxy, now=NOW + timedelta(seconds=60)).fqans == FQANS


def test_one_cause_is_one_warning_for_each_holder(vomsdir):
    reader = reader_of(vomsdir)
    with capturedLogs() as events:
        for user in (USER, USER, SOMEBODY):
            why(reader, ATLAS.proxy(user, FQANS, NOW, start=NOW - timedelta(days=1)), user)
    assert [event["dn"] for event in events] == [USER.dn, SOMEBODY.dn]
    assert {event["fault"] for event in events} == {"the VOMS attributes are not accepted: they have expired"}


async def test_what_is_new_is_judged_off_the_reactors_thread_and_what_is_known_at_once(vomsdir):
    works: list[Any] = []
    waiting: Deferred[Any] = Deferred()

    def in_thread(work):
        works.append(work)
        return waiting

    reader = reader_of(vomsdir, in_thread=in_thread)
    proxy = ATLAS.proxy(USER, FQANS, NOW)
    reading = reader.read([proxy.cert, *proxy.chain], USER.cert, NOW)
    judged = Deferred.fromCoroutine(reading)
    assert not judged.called
    waiting.callback(works[0]())
    assert (await judged).fqans == FQANS
    assert found(reader, proxy).fqans == FQANS
    assert len(works) == 1


async def test_a_verdict_by_what_no_longer_counts_is_not_kept(vomsdir):
    reader = reader_of(vomsdir, in_thread=lambda work: succeed(work()))
    proxy = ATLAS.proxy(USER, FQANS, NOW)
    reading = reader.read([proxy.cert, *proxy.chain], USER.cert, NOW)
    reader.renew(Trust())
    await Deferred.fromCoroutine(reading)
    again = await Deferred.fromCoroutine(reader.read([proxy.cert, *proxy.chain], USER.cert, NOW))
    assert again.fqans == ()
