"""Chains of proxies and of CAs over real handshakes: what OpenSSL checks, and what is left to us (stack.md 4)."""

import http.client
import ssl
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from serving import CA, HOST, NOW, USER, ask, client_context, get, in_thread, listeners
from voms_authority import make_intermediate, make_proxy

from pandatx.identity import authority, proxies
from pandatx.identity.callers import LIMITED
from pandatx.identity.holders import NAMELESS

USER_DN = "/DC=local/DC=pandatx/CN=user"
MIDDLE = make_intermediate(CA, "/DC=local/CN=middle", NOW)
BELOW = authority.make_user(MIDDLE, "/DC=local/CN=below", NOW)
OLD_USER = authority.make_user(CA, USER_DN, NOW - timedelta(days=2))
ANYTHING = x509.ObjectIdentifier("1.2.3.4.5")
LIMITED_PROXY = make_proxy(USER, NOW, policy=proxies.LIMITED_POLICY)


async def refused(tmp_path, credential, prepare=None):
    with pytest.raises((ssl.SSLError, OSError)):
        await ask(tmp_path, credential, ssl.TLSVersion.TLSv1_2, prepare=prepare)


def write(**files):
    def prepare(folder):
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_bytes(content)

    return prepare


@pytest.mark.parametrize(
    "credential",
    [
        make_proxy(make_proxy(USER, NOW, path_length=0), NOW),
        make_proxy(make_proxy(make_proxy(USER, NOW, path_length=1), NOW), NOW),
        make_proxy(USER, NOW, subject=authority.dn_to_name("/DC=local/DC=pandatx/CN=production/CN=1")),
        make_proxy(USER, NOW, subject=authority.dn_to_name("/DC=local/DC=pandatx/CN=production")),
        make_proxy(USER, NOW, subject=authority.dn_to_name(f"{USER_DN}/CN=1/CN=2")),
        make_proxy(USER, NOW, subject=USER.cert.subject),
        make_proxy(HOST, NOW, subject=authority.dn_to_name(f"{USER_DN}/CN=1")),
        make_proxy(OLD_USER, NOW - timedelta(hours=12), hours=11),
        make_proxy(CA, NOW),
    ],
    ids=[
        "one below a proxy that may issue none",
        "two below one that may issue one",
        "another name with one part more",
        "another name",
        "two parts more",
        "its issuer's name",
        "the name of another user",
        "expired",
        "of a CA",
    ],
)
async def test_a_proxy_that_its_issuer_could_not_make_ends_the_handshake(tmp_path, credential):
    await refused(tmp_path, credential)


@pytest.mark.parametrize(
    "credential",
    [
        make_proxy(make_proxy(USER, NOW, path_length=1), NOW),
        make_proxy(make_proxy(make_proxy(USER, NOW), NOW), NOW),
        make_proxy(USER, NOW, last_name="proxy"),
    ],
    ids=["as many as the path length allows", "three", "named proxy"],
)
async def test_a_proxy_that_its_issuer_could_make_is_the_user(tmp_path, credential):
    assert await ask(tmp_path, credential) == (200, f"{USER_DN} False")


@pytest.mark.parametrize(
    "credential",
    [
        LIMITED_PROXY,
        make_proxy(LIMITED_PROXY, NOW),
        make_proxy(USER, NOW, last_name="limited proxy"),
        make_proxy(make_proxy(USER, NOW, last_name="limited proxy"), NOW),
        make_proxy(USER, NOW, policy=proxies.LIMITED_POLICY, path_length=3),
    ],
    ids=["by policy", "below one", "by name", "below one by name", "with a path length"],
)
async def test_a_limited_proxy_is_limited_wherever_it_stands(tmp_path, credential):
    assert await ask(tmp_path, credential) == (200, f"{USER_DN} True")
    assert await ask(tmp_path, credential, path="/why") == (200, LIMITED)


@pytest.mark.parametrize(
    "credential",
    [
        make_proxy(USER, NOW, policy=proxies.INDEPENDENT_POLICY),
        make_proxy(make_proxy(USER, NOW, policy=proxies.INDEPENDENT_POLICY), NOW),
        make_proxy(make_proxy(USER, NOW), NOW, policy=ANYTHING),
    ],
    ids=["independent", "below an independent one", "a policy that nobody knows"],
)
async def test_a_proxy_without_the_rights_of_its_issuer_is_nobody(tmp_path, credential):
    assert await ask(tmp_path, credential) == (200, "None False")
    why = "the policy of the proxy gives it no rights of its issuer, or none that are known here"
    assert await ask(tmp_path, credential, path="/why") == (200, why)


def signed_by(issuer, subject, *extensions):
    """A certificate of an end entity that anybody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = NOW + timedelta(hours=1)
    builder = authority._builder(subject, issuer.cert.subject, key, NOW, end, issuer_key=issuer.key)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return authority._signed(builder, key, issuer)


CERTIFIER = authority._usage(key_cert_sign=True, digital_signature=True)


async def test_who_has_no_name_is_nobody(tmp_path):
    """Holders of such certificates, which public CAs give to hosts, would all be one. OpenSSL takes no proxies of
    theirs."""
    nameless = signed_by(CA, x509.Name([]))
    assert await ask(tmp_path, nameless) == (200, "None False")
    assert await ask(tmp_path, nameless, path="/why") == (200, NAMELESS)
    await refused(tmp_path, make_proxy(nameless, NOW))


@pytest.mark.parametrize("extensions", [(), (CERTIFIER,)], ids=["plain", "with a usage that lets it sign certificates"])
async def test_a_user_certifies_nobody(tmp_path, extensions):
    user = signed_by(CA, authority.dn_to_name("/DC=local/CN=forger"), *extensions)
    victim = signed_by(user, USER.cert.subject)
    for credential in (victim, make_proxy(victim, NOW)):
        assert await ask(tmp_path, credential) == (200, "None False")


# Intermediate CAs.


@pytest.mark.parametrize("proxied", [False, True], ids=["user", "proxy"])
async def test_a_user_below_an_intermediate_ca_brings_it_along(tmp_path, proxied):
    credential = make_proxy(BELOW, NOW) if proxied else BELOW
    assert await ask(tmp_path, credential) == (200, "/DC=local/CN=below False")


@pytest.mark.parametrize("proxied", [False, True], ids=["user", "proxy"])
@pytest.mark.parametrize("whose", ["the CA's list", "the intermediate CA's list"])
async def test_who_is_revoked_or_below_one_who_is_is_refused_with_all_proxies(tmp_path, whose, proxied):
    if whose == "the CA's list":
        lists = write(ca_r0=authority.make_crl(CA, [MIDDLE.cert], NOW))
    else:
        lists = write(
            ca_r0=authority.make_crl(CA, [], NOW),
            middle_pem=MIDDLE.cert_pem(),
            middle_r0=authority.make_crl(MIDDLE, [BELOW.cert], NOW),
        )
    await refused(tmp_path, make_proxy(BELOW, NOW) if proxied else BELOW, lists)


async def test_a_list_of_another_ca_of_the_same_name_revokes_nobody(tmp_path):
    twin = authority.make_authority(CA.dn, NOW)
    lists = write(twin_r0=authority.make_crl(twin, [USER.cert], NOW), ca_r0=authority.make_crl(CA, [], NOW))
    assert await ask(tmp_path, make_proxy(USER, NOW), prepare=lists) == (200, f"{USER_DN} False")


# Open connections.


async def test_who_is_revoked_while_connected_is_nobody_after_the_next_reading(tmp_path):
    """CRLs are at most a minute old for those who keep their connections, too (rule R13)."""
    service = listeners(tmp_path)
    service.startService()
    context = client_context(tmp_path, make_proxy(USER, NOW))
    connection = http_connection(service, context)
    try:
        assert await in_thread(said, connection, "/who") == f"{USER_DN} False"
        (tmp_path / "certificates" / "ca.r0").write_bytes(authority.make_crl(CA, [USER.cert], NOW))
        assert service.reload()
        assert await in_thread(said, connection, "/who") == "None False"
        assert await in_thread(said, connection, "/why") == f"{USER_DN} is revoked"
        with pytest.raises((ssl.SSLError, OSError)):
            await in_thread(get, service.numbers["https"], client_context(tmp_path, make_proxy(USER, NOW)))
    finally:
        connection.close()
        await service.stopService()


def http_connection(service, context):
    return http.client.HTTPSConnection("localhost", service.numbers["https"], context=context, timeout=10)


def said(connection, path):
    connection.request("GET", path)
    return connection.getresponse().read().decode()
