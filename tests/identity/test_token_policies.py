"""What a verified token makes of its holder (reference/wire.md 1.5.3, steps 5 to 11)."""

import pytest

from pandatx.errors import TokenRejected
from pandatx.identity.auth_config import AuthConfig, Client, Policy
from pandatx.identity.names import compact_name
from pandatx.identity.policies import standing

URL = "https://iam.example/d"


def client(vo="atlas", role=None, **more):
    return Client(vo=vo, role=role, ids=frozenset({"web"}), url=URL, **more)


def config(*clients, **policies):
    member = Policy(member="atlas", group="user", role="user")
    return AuthConfig(clients or (client(),), policies or {"atlas": (member,), "vo.dark.org": (member,)})


def stand(origin="atlas", known=None, named="web", **claims):
    told = {"sub": "s-1", "name": "jane ROE", "groups": ["atlas"], **claims}
    told = {name.replace("__", "."): value for name, value in told.items() if value is not None}
    return standing(origin, told, named, known or config())


def refused(origin="atlas", **more):
    with pytest.raises(TokenRejected) as caught:
        stand(origin, **more)
    return str(caught.value).removeprefix("Token authentication failed. ")


def test_a_member_has_no_role_and_the_policies_names():
    known = config(
        client(), atlas=(Policy(member="nobody", group="a", role="b"), Policy(member="atlas", group="g", role="r"))
    )
    place = stand(known=known)
    assert (place.vo, place.role, place.group, place.role_name, place.fqans) == ("atlas", None, "g", "r", ())


@pytest.mark.parametrize("origin", ["atlas:production", "atlas.production"])
@pytest.mark.parametrize("group", ["atlas/production", "/atlas/production"])
def test_a_role_is_had_by_its_group_in_either_spelling(origin, group):
    place = stand(origin, groups=["atlas", group])
    assert (place.role, place.group, place.role_name) == ("production", "production", "production")
    assert place.fqans == ("/atlas/Role=production",)


def test_vos_that_start_with_vo_have_roles_behind_a_colon_only():
    known = config(**{"vo.dark.org": (Policy(member="vo.dark.org", group="user", role="user"),)})
    assert stand("vo.dark.org", known, groups=["/vo.dark.org"]).vo == "vo.dark.org"
    place = stand("vo.dark.org:pilot", known, groups=["vo.dark.org/pilot"])
    assert place.fqans == ("/vo.dark.org/Role=pilot",)
    assert refused("vo.dark.org.pilot", known=known) == "Unknown vo : vo.dark.org.pilot"


def test_who_is_not_a_member_is_told_of_what():
    assert refused("cms") == "Unknown vo : cms"
    assert refused("null") == "Unknown vo : null"
    assert refused(groups=["cms"]) == "Not a member of the atlas group"
    assert refused(groups=None) == "Not a member of the atlas group"
    assert refused("atlas:production") == "Not a member of the atlas/production group"
    assert refused("atlas.production", groups=None) == "Not a member of the atlas/production group"


def test_groups_in_a_text_are_one_group_and_not_searched():
    assert stand(groups="/atlas").vo == "atlas"
    assert refused(groups="x/atlas") == "Not a member of the atlas group"
    assert refused("atlas:prod", groups=["atlas", "atlas/production"]) == "Not a member of the atlas/prod group"
    assert refused(groups={"atlas": 1}) == "Not a member of the atlas group"


@pytest.mark.parametrize("role", ["production/x", "production/Capability=NULL", "a b", "=", "é"])
def test_a_role_that_would_read_as_more_than_a_name_is_nobodys(role):
    assert refused(f"atlas:{role}", groups=["atlas", f"atlas/{role}"]) == f"Not a member of the atlas/{role} group"


def test_wlcg_tokens_have_their_groups_under_another_name():
    known = config(client(wlcg=True), client(role="pilot"))
    assert stand(known=known, groups=None, wlcg__groups=["/atlas"]).vo == "atlas"
    assert refused(known=known, groups=["atlas"]) == "Not a member of the atlas group"
    assert stand("atlas:pilot", known, groups=["atlas/pilot"]).role == "pilot"
    assert stand("atlas:production", known, groups=None, wlcg__groups=["/atlas/production"]).role == "production"


def test_a_robot_is_what_its_file_is_for():
    known = config(client(robot_ids=frozenset({"robot"})), client(role="pilot", robot_ids=frozenset({"robot"})))
    place = stand("atlas:pilot", known, "robot", groups=None, name=None, sub="robot")
    assert (place.role, place.fqans, place.dn) == ("pilot", ("/atlas/Role=pilot",), "Robot Pilot")
    place = stand("atlas", known, "robot", groups=None, name=None, client_id="robot")
    assert (place.role, place.dn) == (None, "Robot")
    assert stand("atlas", known, "robot", groups=None, name="my robot", azp="robot").dn == "My Robot"


def test_a_token_that_only_names_a_robot_as_its_audience_is_no_robots():
    known = config(client(), client(role="pilot", robot_ids=frozenset({"robot"})))
    for given in ({}, {"client_id": "web"}, {"client_id": ["robot"]}):
        text = refused("atlas:pilot", known=known, named="robot", groups=None, aud="robot", **given)
        assert text == "Not a member of the atlas/pilot group"


def test_a_robot_with_groups_has_those_and_no_others():
    known = config(client(role="pilot", robot_ids=frozenset({"robot"})))
    assert (
        refused("atlas:pilot", known=known, named="robot", sub="robot", groups=["atlas"])
        == "Not a member of the atlas/pilot group"
    )
    assert stand("atlas:pilot", known, "robot", groups=["atlas/pilot"]).role == "pilot"


def test_who_is_no_robot_of_this_file_needs_groups():
    known = config(client(), client(role="pilot", robot_ids=frozenset({"robot"})))
    for origin, named in (("atlas:pilot", "web"), ("atlas:production", "robot"), ("atlas", "robot")):
        assert refused(origin, known=known, named=named, sub=named, groups=None).startswith("Not a member of")


def test_the_first_auto_role_of_a_member_is_taken_when_none_is_asked_for():
    known = config(client(auto_roles=("production", "pilot")))
    assert stand(known=known, groups=["atlas", "/atlas/pilot", "/atlas/production"]).role == "production"
    assert stand(known=known, groups=["atlas/pilot"]).role == "pilot"
    assert stand(known=known, groups=["atlas"]).role is None
    assert stand("atlas:x", known, groups=["atlas/x", "atlas/pilot"]).role == "x"


def test_the_holder_goes_by_name_and_nickname_and_by_the_subject_without_a_name():
    place = stand(preferred_username="jroe")
    assert place.dn == "Jane Roe/CN=nickname:jroe"
    assert compact_name(place.dn) == "Jane Roe"
    assert stand(name="  mary-ann   o'NEIL ").dn == "Mary-ann O'neil"
    assert stand(name=None, preferred_username="jroe").dn == "s-1"
    assert stand(name="").dn == "s-1"
    assert stand(name=["x"]).dn == "s-1"


@pytest.mark.parametrize(
    ("claims", "dn"),
    [
        ({"name": None, "sub": "/DC=ch/CN=admin"}, "_DC=ch_CN=admin"),
        ({"name": "/DC=ch/CN=admin"}, "_dc=ch_cn=admin"),
        ({"preferred_username": "x/CN=Somebody Else"}, "Jane Roe/CN=nickname:x_CN=Somebody Else"),
        ({"preferred_username": "x/y"}, "Jane Roe/CN=nickname:x_y"),
        ({"name": "a\0b\nc \ud800d"}, "A?b C ?d"),
    ],
)
def test_nothing_that_one_may_write_into_a_profile_reads_as_a_part_of_a_dn(claims, dn):
    assert stand(**claims).dn == dn


def test_long_names_are_cut():
    assert len(stand(name="x" * 1000, preferred_username="y" * 1000).dn) < 500


def test_the_scope_names_fqans_that_the_groups_confirm():
    scope = "openid role:/atlas/Role=pilot role:/atlas/Role=production role:/cms/Role=production role:x"
    assert stand(scope=scope, groups=["atlas", "atlas/pilot"]).fqans == ("/atlas/Role=pilot",)
    assert stand(scope=scope, groups=["atlas"]).fqans == ()
    assert stand("atlas:production", scope=scope, groups=["atlas/production"]).fqans == ("/atlas/Role=production",), (
        "a role here is none in the VO that the scope names"
    )
    both = stand(
        "atlas:pilot", scope="role:/atlas/Role=production/Capability=NULL", groups=["atlas/pilot", "atlas/production"]
    )
    assert both.fqans == ("/atlas/Role=production/Capability=NULL", "/atlas/Role=pilot")
    assert stand(scope=5).fqans == ()
