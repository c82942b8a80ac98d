"""The files of auth_config: both spellings, policies by name or by the older file, faults that stop nothing else."""

import json

import pytest

from pandatx.identity.auth_config import (
    AuthConfig,
    Policy,
    asked_over_tls,
    parse_client,
    read_auth_config,
    split_name,
)

URL = "https://iam.example/.well-known/openid-configuration"
TLS = asked_over_tls()


def entry(**more):
    return {
        "client_id": "web",
        "client_secret": "s",
        "audience": "https://panda.example",
        "oidc_config_url": URL,
        "vo": "atlas",
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "auth").mkdir()
    return tmp_path / "auth"


def put(folder, name, content=None, **more):
    text = json.dumps(entry(**more)) if content is None else content
    (folder / f"{name}_auth_config.json").write_text(text)


def read(folder, policies=None):
    return read_auth_config(folder, policies, TLS)


@pytest.mark.parametrize(
    ("name", "vo", "role"),
    [
        ("atlas", "atlas", None),
        ("atlas:pilot", "atlas", "pilot"),
        ("atlas.pilot", "atlas", "pilot"),
        ("a.b.pilot", "a.b", "pilot"),
        ("a.b:pilot.x", "a.b", "pilot.x"),
        ("vo.darkside.org", "vo.darkside.org", None),
        ("vo.darkside.org:pilot", "vo.darkside.org", "pilot"),
        ("atlas:", "atlas", None),
        ("atlas.", "atlas", None),
    ],
)
def test_a_name_is_a_vo_or_a_vo_with_a_role(name, vo, role):
    assert split_name(name) == (vo, role)


def test_both_spellings_of_a_role_are_one_name_and_policies_follow_from_the_names(folder):
    put(folder, "atlas")
    put(folder, "atlas.production", client_id="prod")
    put(folder, "atlas:pilot", client_id="pilot")
    put(folder, "vo.darkside.org", client_id="dark")
    put(folder, "vo.darkside.org:pilot", client_id="darkpilot")
    found = read(folder)
    assert found.faults == ()
    names = {"atlas", "atlas.production", "atlas.pilot", "vo.darkside.org", "vo.darkside.org.pilot"}
    assert {client.name for client in found.clients} == names
    assert found.policies == {
        "atlas": (
            Policy(member="atlas", group="production", role="production"),
            Policy(member="atlas", group="pilot", role="pilot"),
            Policy(member="atlas", group="user", role="user"),
        ),
        "vo.darkside.org": (
            Policy(member="vo.darkside.org", group="pilot", role="pilot"),
            Policy(member="vo.darkside.org", group="user", role="user"),
        ),
    }
    assert [found.with_id(name)[0].name for name in ("prod", "darkpilot")] == [
        "atlas.production",
        "vo.darkside.org.pilot",
    ]


def test_two_files_for_one_role_are_a_fault_of_the_second(folder):
    put(folder, "atlas.pilot", client_id="first")
    put(folder, "atlas:pilot", client_id="second")
    found = read(folder)
    assert [client.ids for client in found.clients] == [{"first"}]
    assert "another file is for atlas.pilot" in found.faults[0]


def test_ids_of_others_and_of_robots_are_ids_too(folder):
    for robots in (["r1", "r2"], "r1, r2,"):
        put(folder, "atlas", secondary_ids=["also"], robot_ids=robots, auto_roles=["pilot"], jwt_profile="wlcg")
        (client,) = read(folder).clients
        assert client.ids == {"web", "also", "r1", "r2"}
        assert client.robot_ids == {"r1", "r2"}
        assert (client.wlcg, client.auto_roles, client.audience) == (True, ("pilot",), "https://panda.example")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "oidc_config_url is missing"),
        (json.dumps(entry(client_id=None)), "client_id is missing"),
        (json.dumps(entry(oidc_config_url="http://iam.example/x")), "oidc_config_url is no https:// address"),
        (json.dumps(entry(oidc_config_url="https://[")), "oidc_config_url is no https:// address"),
        (json.dumps(entry(secondary_ids=5)), "secondary_ids is no list of texts"),
        (json.dumps(entry(robot_ids=[1])), "robot_ids is no list of texts"),
        (" " * (1 << 20) + json.dumps(entry()), "it is larger than 1 MiB"),
    ],
)
def test_a_bad_file_is_named_and_stops_only_itself(folder, content, why):
    put(folder, "atlas")
    put(folder, "bad", content)
    found = read(folder)
    assert [client.vo for client in found.clients] == ["atlas"]
    assert "bad" not in found.policies
    (fault,) = found.faults
    assert fault.startswith(str(folder / "bad_auth_config.json"))
    assert why in fault


def test_no_secret_of_a_bad_file_is_told(folder):
    put(folder, "bad", json.dumps(entry(client_secret="SEKRET", client_id=5)))
    put(folder, "worse", '{"client_secret": "SEKRET", ')
    assert "SEKRET" not in " ".join(read(folder).faults)
    assert "client_secret" not in repr(parse_client("a", json.dumps(entry()).encode(), TLS))


def test_other_files_of_the_folder_are_left_alone(folder):
    (folder / "_auth_config.json").write_text("{")
    (folder / "atlas_auth_config.json.bak").write_text("{")
    (folder / "token_cache_config.json").write_text("{")
    assert read(folder) == AuthConfig()


def test_files_may_be_links_as_a_config_map_has_them(folder, tmp_path):
    (tmp_path / "data").write_text(json.dumps(entry()))
    (folder / "atlas_auth_config.json").symlink_to(tmp_path / "data")
    assert [client.vo for client in read(folder).clients] == ["atlas"]


def test_a_folder_that_is_not_there_is_one_fault(tmp_path):
    (fault,) = read(tmp_path / "none").faults
    assert "no client of a token issuer is known" in fault


def test_the_older_file_of_policies_counts_where_it_is_named(folder, tmp_path):
    put(folder, "atlas")
    policies = tmp_path / "policies.json"
    policies.write_text(json.dumps({"atlas": [["/atlas/analysis", {"role": "user", "group": "an"}]], "x": [["a"]]}))
    found = read(folder, policies)
    assert found.policies == {"atlas": (Policy(member="/atlas/analysis", group="an", role="user"),)}
    assert "no token of 'x' is taken" in found.faults[0]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_bad_file_of_policies_lets_nobody_in(folder, tmp_path, content):
    put(folder, "atlas")
    if content is not None:
        (tmp_path / "policies.json").write_text(content)
    found = read(folder, tmp_path / "policies.json")
    assert found.policies == {}
    assert "so that no token is taken" in found.faults[0]


@pytest.mark.parametrize("shape", [5, {"a": 1}, [5], ["ab"], [["a", "b"]], [["", {}]], [["a", {"role": 1}]], None])
def test_policies_of_another_shape_stop_only_their_vo(folder, tmp_path, shape):
    policies = tmp_path / "policies.json"
    policies.write_text(json.dumps({"bad": shape, "atlas": [["atlas", {}]]}))
    found = read(folder, policies)
    assert found.policies == {"atlas": (Policy(member="atlas", group="user", role="user"),)}
    assert len(found.faults) == 1


def test_an_issuer_is_asked_over_tls_but_on_loopback_or_where_configured():
    assert all(map(TLS, ("https://iam.example/x", "http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:5/x")))
    for url in (
        "http://iam.example/x",
        "ftp://localhost/x",
        "file:///etc/passwd",
        "",
        "https://",
        "http://127.0.0.1.x/",
    ):
        assert not TLS(url), url
    assert asked_over_tls(["iam.example"])("http://iam.example/x")
