"""Which tokens are genuine, for us and valid now; the texts of those that are not (rules R13, R27)."""

import json
from datetime import UTC, datetime, timedelta

import attrs
import jwt
import pytest
from issuer import CLIENT, ROBOT, Issuer, client_file, ec_key, jwk, private_pem, public_pem, rsa_key, unsigned
from twisted.internet.task import Clock as ReactorClock

from pandatx.clock import Clock
from pandatx.config.kinds import ALGORITHMS as CONFIGURABLE
from pandatx.errors import TokenRejected
from pandatx.identity.auth_config import AuthConfig, Policy, asked_over_tls, parse_client
from pandatx.identity.token_keys import ALGORITHMS, IssuerAway, read_discovery, read_keys
from pandatx.identity.token_keys import Issuer as Known
from pandatx.identity.tokens import ANY_AUDIENCE, LEEWAY, MOST_DECISIONS, Judge, TokenRules

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = TokenRules()


@attrs.frozen
class Lists:
    production_dns: tuple[str, ...] = ()
    pilot_owners: tuple[str, ...] = ()
    loose_dn_match: bool = False
    vo_members_are_pilots: tuple[str, ...] = ()


class Keyring:
    """Hands over the keys of issuers by their discovery URL."""

    def __init__(self, *issuers):
        self.issuers = {issuer.discovery: issuer for issuer in issuers}
        self.generation, self.asked, self.away = 0, 0, ""

    async def keys(self, url, kid):
        self.asked += 1
        if self.away:
            raise IssuerAway(self.away)
        issuer = self.issuers[url]
        return Known(issuer.name, read_keys(json.dumps(issuer.get("/jwks")[1]).encode(), CONFIGURABLE))


class World:
    """A judge with its issuer, its files and its time."""

    def __init__(self, rules=RULES, lists=None, **files):
        self.issuer = Issuer("https://iam.example")
        self.other = Issuer("https://other.example", keys={"first": rsa_key(1)})
        self.time = ReactorClock()
        self.clock = Clock.manual(self.time, NOW)
        self.keyring = Keyring(self.issuer, self.other)
        self.config = self.read(**(files or {"atlas": {}}))
        self.judge = Judge(lists or Lists(), lambda: self.config, self.keyring, self.clock, rules)

    def read(self, **files):
        clients = tuple(
            parse_client(name, client_file(more.pop("issuer", self.issuer), **more).encode(), asked_over_tls())
            for name, more in files.items()
        )
        vos = {client.vo for client in clients}
        return AuthConfig(clients, {vo: (Policy(member=vo, group="user", role="user"),) for vo in vos})

    def token(self, **claims):
        return self.issuer.token(now=self.clock.now().timestamp(), **claims)

    async def asks(self, token=None, origin="atlas", dn=None):
        found = self.judge.judge(self.token() if token is None else token, origin, dn)
        return found if attrs.has(type(found)) else await found

    async def refused(self, token=None, origin="atlas", **claims):
        with pytest.raises(TokenRejected) as caught:
            await self.asks(self.token(**claims) if token is None else token, origin)
        return str(caught.value).removeprefix("Token authentication failed. ")


@pytest.fixture
def world():
    return World()


async def test_a_good_token_is_its_holder(world):
    caller = await world.asks(origin="atlas:pilot")
    assert (caller.dn, caller.name, caller.how) == ("Jane Roe/CN=nickname:jroe", "Jane Roe", "token")
    assert (caller.fqans, caller.pilot, caller.production) == (("/atlas/Role=pilot",), True, False)
    assert (caller.issuer, caller.subject) == ("https://iam.example/", "0b1e-jane")
    assert caller.secure


async def test_a_display_name_that_stands_in_a_list_gives_no_role():
    listed = ("Jane Roe", "Jane Roe/CN=nickname:jroe", "CN=nickname:jroe")
    caller = await World(lists=Lists(listed, listed, loose_dn_match=True)).asks()
    assert caller.name == "Jane Roe"
    assert (caller.production, caller.pilot) == (False, False)


async def test_the_production_role_comes_from_its_group(world):
    caller = await world.asks(world.token(groups=["atlas/production"]), "atlas:production")
    assert caller.production


async def test_every_member_is_a_pilot_where_the_operator_says_so():
    for vo, pilot in (("atlas", True), ("cms", False)):
        assert (await World(lists=Lists(vo_members_are_pilots=(vo,))).asks()).pilot is pilot


async def test_what_is_told_of_a_token_is_a_fixed_list(world):
    caller = await world.asks(world.token(private="no", email="j@x"))
    told = dict(caller.attributes)
    assert (told["PANDA_OIDC_VO"], told["PANDA_OIDC_GROUP"], told["PANDA_OIDC_ROLE"]) == ("atlas", "user", "user")
    assert (told["PANDA_OIDC_CLAIM_sub"], told["PANDA_OIDC_CLAIM_email"]) == ("0b1e-jane", "j@x")
    assert "PANDA_OIDC_CLAIM_private" not in told
    assert all(isinstance(value, str) for value in told.values())


@pytest.mark.parametrize("origin", [None, ""])
async def test_a_token_comes_with_an_origin(world, origin):
    assert await world.refused(origin=origin) == "Origin is missing in the request headers: it names the VO"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:25080", "HTTPS://x"])
async def test_a_web_page_does_not_come_with_a_token(world, origin):
    assert "web page" in await world.refused(origin=origin)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "Not enough segments"),
        ("abc", "Not enough segments"),
        ("a.b.c", "Invalid"),
        (".".join(["eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ", "W10", "AAAA"]), "must be a json object"),
        ("é.é.é", "Invalid"),
        ("x" * 100_000, "Not enough segments"),
    ],
)
async def test_what_is_no_token_is_told_so(world, token, why):
    reason = await world.refused(token)
    assert reason.startswith("Invalid token. ")
    assert why in reason


async def test_claims_that_are_nested_too_deeply_are_refused(world):
    deep = jwt.api_jws.PyJWS().encode(b'{"a": ' + b"[" * 100_000, rsa_key(), "RS256", {"kid": "first"})
    assert (await world.refused(deep)).startswith("Invalid token. ")


async def test_a_token_of_no_known_client_is_refused(world):
    assert await world.refused(aud="somebody else") == "Invalid token. cannot extract client_id from token"
    assert await world.refused(aud=None) == "Invalid token. cannot extract client_id from token"
    assert await world.refused(aud={"a": 1}) == "Invalid token. cannot extract client_id from token"


async def test_the_client_is_the_audience_else_client_id_else_the_subject():
    world = World(atlas={"secondary_ids": ["second"], "robot_ids": [ROBOT]})
    assert await world.asks(world.token(aud="second"))
    assert await world.asks(world.token(aud=["x", CLIENT]))
    assert await world.asks(world.token(aud=None, client_id="second"))
    assert await world.asks(world.token(aud=None, sub="second"))
    robot = await world.asks(world.issuer.robots_token(now=NOW.timestamp()))
    assert robot.name == "Robot"


async def test_an_issuer_that_calls_itself_by_anothers_name_has_none_of_its_owners():
    class Impostor(Issuer):
        name = "https://iam.example/"

    impostor = Impostor("https://evil.example", keys={"first": rsa_key(1)})
    world = World(atlas={}, cms={"issuer": impostor, "client_id": "cms-client", "vo": "cms"})
    world.keyring.issuers[impostor.discovery] = impostor
    victim = await world.asks()
    forged = impostor.token(now=NOW.timestamp(), aud="cms-client", groups=["cms"])
    found = await world.asks(forged, "cms")
    assert (found.name, found.subject) == (victim.name, victim.subject)
    assert found.identity == "https://iam.example/ at evil.example 0b1e-jane" != victim.identity


async def test_a_member_who_asks_for_a_token_for_a_robot_is_no_robot():
    world = World(**{"atlas": {}, "atlas:pilot": {"robot_ids": [ROBOT]}})
    assert await world.refused(aud=ROBOT, groups=None, origin="atlas:pilot") == "Not a member of the atlas/pilot group"
    assert (await world.asks(world.issuer.robots_token(now=NOW.timestamp()), "atlas:pilot")).pilot


async def test_an_audience_that_is_not_ours_is_refused_whoever_the_client_is(world):
    assert (
        await world.refused(aud="https://storage.example", client_id=CLIENT) == "Invalid token. Audience doesn't match"
    )
    assert await world.refused(aud=ANY_AUDIENCE, client_id=CLIENT) == "Invalid token. Audience doesn't match"
    assert await world.refused(aud=[], client_id=CLIENT) == "Invalid token. Audience doesn't match"
    assert await world.asks(world.token(aud="https://panda.example", client_id=CLIENT))


async def test_further_audiences_are_configured_and_wlcg_has_one_for_all():
    world = World(TokenRules(audiences=("account",)), atlas={"jwt_profile": "wlcg"})
    for audience in ("account", ANY_AUDIENCE):
        assert await world.asks(world.token(aud=audience, client_id=CLIENT, wlcg__groups=["/atlas"]))


async def test_a_key_id_is_needed_and_one_that_the_issuer_has(world):
    assert await world.refused(kid=None) == "Invalid token. cannot extract kid from headers"
    assert await world.refused(kid="zz") == "Invalid token. JWK not found for kid=zz"


async def test_another_ones_signature_is_refused(world):
    assert await world.refused(key=rsa_key(1)) == "Invalid token. Signature verification failed"
    head, _, signature = world.token().split(".")
    body = world.token(groups=["atlas/production"]).split(".")[1]
    assert await world.refused(f"{head}.{body}.{signature}") == "Invalid token. Signature verification failed"


NOT_ALLOWED = "Invalid token. The specified alg value is not allowed"


async def test_the_algorithm_is_pinned(world):
    assert await world.refused(world.token(alg="none")) == NOT_ALLOWED
    assert await world.refused(world.token(alg="RS512")) == NOT_ALLOWED
    assert await world.refused(world.token(alg="PS256")) == NOT_ALLOWED
    for header in ({"alg": "None", "kid": "first"}, {"kid": "first"}, {"alg": ["RS256"], "kid": "first"}):
        assert (await world.refused(unsigned(world.token(), header))).startswith("Invalid token. ")
    assert world.keyring.asked == 0, "nobody is asked for a key for that"


@pytest.mark.filterwarnings("ignore")
async def test_the_public_key_is_no_shared_secret(world):
    for secret in (public_pem(rsa_key()), json.dumps(jwk("first", rsa_key())).encode()):
        forged = _hs256(secret, json.loads(_payload(world.token())))
        assert await world.refused(forged) == NOT_ALLOWED


def _payload(token):
    return jwt.api_jws.PyJWS().decode_complete(token, options={"verify_signature": False})["payload"]


def _hs256(secret, claims):
    """PyJWT itself does not sign with a public key."""
    import hmac
    from hashlib import sha256

    parts = [
        jwt.utils.base64url_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "first"}, claims)
    ]
    text = b".".join(parts)
    return b".".join([text, jwt.utils.base64url_encode(hmac.new(secret, text, sha256).digest())]).decode()


async def test_other_algorithms_are_taken_where_configured_and_from_their_own_kind_of_key_only():
    world = World(TokenRules(algorithms=("RS256", "ES256")))
    world.issuer.keys["curve"] = ec_key()
    assert await world.asks(world.token(key=ec_key(), alg="ES256", kid="curve"))
    wrong = world.token(key=ec_key(), alg="ES256", kid="first")
    assert await world.refused(wrong) == f"{NOT_ALLOWED} for this key"


async def test_an_issuer_is_who_signs_and_names_itself(world):
    assert await world.refused(iss="https://other.example/") == "Invalid token. Invalid issuer"
    assert await world.refused(iss="https") == "Invalid token. Invalid issuer"
    assert await world.refused(iss=None) == 'Invalid token. Token is missing the "iss" claim'
    assert await world.refused(iss=["https://iam.example/"]) == 'Invalid token. Token is missing the "iss" claim'


async def test_an_issuer_may_leave_out_the_slash_at_its_end(world):
    assert await world.asks(world.token(iss="https://iam.example"))


async def test_an_older_name_of_the_issuer_is_taken_where_configured_but_is_not_who_it_is():
    world = World(TokenRules(issuers=("https://old.example/",)))
    caller = await world.asks(world.token(iss="https://old.example/"))
    assert caller.issuer == "https://iam.example/"


async def test_times_are_looked_at_with_a_little_patience(world):
    now, second = NOW.timestamp(), LEEWAY.total_seconds()
    assert await world.asks(world.token(exp=now - second + 1, nbf=now + second - 1, iat=now + second - 1))
    assert await world.refused(exp=now - second) == "Invalid token. Signature has expired"
    assert await world.refused(nbf=now + second + 1) == "Invalid token. The token is not yet valid (nbf)"
    assert await world.refused(iat=now + second + 1) == "Invalid token. The token is not yet valid (iat)"
    assert await world.refused(exp=None) == 'Invalid token. Token is missing the "exp" claim'


@pytest.mark.parametrize("value", ["x", [], True, {}, 1e300, 10**400])
async def test_a_time_that_is_none_is_refused(world, value):
    assert (await world.refused(exp=value)).startswith("Invalid token. ")
    assert (await world.refused(nbf=value)).startswith("Invalid token. ")


async def test_a_time_in_text_or_with_a_fraction_is_a_time(world):
    assert await world.asks(world.token(exp=str(int(NOW.timestamp()) + 60), nbf=NOW.timestamp() + 0.5))
    assert await world.asks(world.token(exp=253402300799))


async def test_a_subject_is_needed(world):
    for sub in (None, "", 5):
        assert (await world.refused(sub=sub)).startswith("Invalid token. ")


async def test_an_issuer_speaks_for_its_own_vos_only():
    world = World(atlas={})
    world.config = world.read(atlas={}, cms={"client_id": "cms-web", "vo": "cms", "issuer": world.other})
    forged = world.other.token(now=NOW.timestamp(), aud="cms-web", groups=["atlas", "atlas/production"])
    assert "does not speak for atlas" in await world.refused(forged, "atlas:production")
    assert "does not speak for atlas" in await world.refused(forged, "atlas")
    good = world.other.token(now=NOW.timestamp(), aud="cms-web", groups=["cms"])
    assert await world.asks(good, "cms")


async def test_of_files_with_one_client_id_that_of_the_origin_counts():
    world = World()
    world.config = world.read(atlas={}, cms={"vo": "cms", "issuer": world.other})
    for origin, issuer in (("atlas", world.issuer), ("cms", world.other)):
        token = issuer.token(now=NOW.timestamp(), groups=["atlas", "cms"])
        assert (await world.asks(token, origin)).issuer == issuer.name


async def test_the_vo_that_a_file_names_is_its_issuers_too():
    world = World(panda_dev={"vo": "atlas"})
    world.config = attrs.evolve(world.config, policies={"atlas": (Policy(member="atlas", group="g", role="r"),)})
    assert dict((await world.asks()).attributes)["PANDA_OIDC_GROUP"] == "g"


@pytest.mark.filterwarnings("ignore")
async def test_a_key_that_is_too_short_is_refused(world):
    world.issuer.keys["short"] = rsa_key(5, 1024)
    assert (await world.refused(world.token(kid="short"))).startswith("Invalid token. ")


async def test_an_issuer_that_is_away_is_told(world):
    world.keyring.away = "iam.example: connection refused"
    assert await world.refused() == "The keys of the token issuer cannot be had: iam.example: connection refused"


async def test_a_decision_is_remembered_for_ten_minutes_for_this_token_origin_and_certificate(world):
    token = world.token(groups=["atlas", "atlas/pilot"])
    first = await world.asks(token)
    assert await world.asks(token) is first
    assert world.judge.judge(token, "atlas") is first, "at once"
    assert world.keyring.asked == 1
    await world.asks(token, "atlas:pilot")
    await world.asks(token, "atlas", "/CN=Some One")
    assert world.keyring.asked == 3
    world.time.advance(600)
    await world.asks(token)
    assert world.keyring.asked == 4


async def test_a_remembered_token_ends_when_it_ends(world):
    token = world.token(exp=NOW.timestamp() + 60)
    await world.asks(token)
    world.time.advance(60 + LEEWAY.total_seconds())
    assert await world.refused(token) == "Invalid token. Signature has expired"


async def test_what_is_remembered_is_forgotten_when_files_or_keys_have_changed(world):
    token = world.token()
    await world.asks(token)
    world.keyring.generation += 1
    await world.asks(token)
    assert world.keyring.asked == 2
    world.config = world.read(atlas={"client_id": "another"})
    assert "cannot extract client_id" in await world.refused(token)


async def test_refusals_are_not_remembered_and_good_tokens_are_up_to_a_number(world, monkeypatch):
    monkeypatch.setattr("pandatx.identity.tokens.MOST_DECISIONS", 2)
    assert MOST_DECISIONS >= 10_000
    tokens = [world.token(sub=f"s{n}") for n in range(3)]
    for token in tokens:
        await world.asks(token)
    await world.refused(aud="x")
    assert len(world.judge._decisions) == 2
    asked = world.keyring.asked
    await world.asks(tokens[2])
    assert world.keyring.asked == asked
    await world.asks(tokens[0])
    assert world.keyring.asked == asked + 1


def test_what_can_be_configured_is_what_keys_can_do():
    assert sorted(CONFIGURABLE) == sorted(name for names in ALGORITHMS.values() for name in names)


def test_a_private_key_is_not_needed_to_know_a_token():
    assert private_pem(rsa_key()).startswith(b"-----BEGIN PRIVATE KEY-----")
    published = {**jwk("a", rsa_key()), "d": "AQAB"}
    assert read_keys(json.dumps({"keys": [published]}).encode(), ("RS256",)) == {}


@pytest.mark.parametrize(
    "odd",
    [
        5,
        {},
        {"kid": "a"},
        {"kid": 5, "kty": "RSA"},
        {"kid": "a", "kty": "RSA", "n": "!", "e": "AQAB"},
        {"kid": "a", "kty": "oct", "k": "AAAA"},
        {"kid": "a", "kty": ["RSA"]},
        {"kid": "a", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    ],
)
def test_keys_that_cannot_be_read_spoil_no_others(odd):
    found = read_keys(json.dumps({"keys": [odd, jwk("good", rsa_key())]}).encode(), CONFIGURABLE)
    assert found["good"]
    assert not found.get("a")


def test_keys_of_one_kid_stand_beside_each_other():
    keys = [jwk("one", rsa_key()), jwk("one", ec_key()), jwk("one", rsa_key(), n="-")]
    found = read_keys(json.dumps({"keys": keys}).encode(), ("RS256", "ES256"))
    assert set(found["one"]) == {"RS256", "ES256"}


def test_a_key_is_for_what_it_says():
    for more in ({"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": 5}):
        assert read_keys(json.dumps({"keys": [jwk("a", rsa_key(), **more)]}).encode(), ("RS256",)) == {}
    found = read_keys(json.dumps({"keys": [jwk("a", rsa_key(), alg="RS512")]}).encode(), ("RS256", "RS512"))
    assert set(found["a"]) == {"RS512"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": 5}', b"[" * 100_000])
def test_what_is_no_jwks_or_no_discovery_document_is_told(content):
    with pytest.raises(ValueError):
        read_keys(content, ("RS256",))
    with pytest.raises(ValueError):
        read_discovery(content)


def test_time_is_ours(world):
    assert world.clock.now() == NOW
    assert timedelta(seconds=10) <= LEEWAY <= timedelta(minutes=1)
