"""Sites, endpoints and queues out of CRIC's dumps, and what of them is stored."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import cric_dumps
from pandatx.domain.cric import (
    Endpoint,
    Exclusions,
    Leftovers,
    QueueStorages,
    Site,
    Space,
    Stored,
    leftovers,
    relations_of,
    role_and_scope,
    tables_of,
)
from pandatx.domain.dumps import UnreadableDump


def dumped(value) -> bytes:
    return json.dumps(value).encode()


def site(**changes) -> dict:
    return {
        "state": "ACTIVE",
        "tier_level": 2,
        "datapolicies": [],
        "ddmendpoints": {"D": {"state": "ACTIVE"}, "OFF": {"state": "DISABLED"}},
        "presources": {"R": {"Q": {"state": "ACTIVE"}, "Q2": {"state": "DISABLED"}}},
        **changes,
    }


def test_only_active_sites_endpoints_and_queues_are_read():
    found = cric_dumps.read_sites(dumped({"S": site(), "GONE": site(state="DISABLED")}))
    assert found == {"S": Site(name="S", role="satellite", tier_level=2, endpoints=("D",), queues=("Q",))}


@pytest.mark.parametrize(("policies", "role"), [(["Nucleus"], "nucleus"), ([], "satellite"), (None, "satellite")])
def test_a_nucleus_is_told_by_its_data_policies(policies, role):
    assert cric_dumps.read_sites(dumped({"S": site(datapolicies=policies)}))["S"].role == role


@pytest.mark.parametrize("tier", ["2", None, 70000, True])
def test_a_tier_that_the_column_does_not_take_is_none(tier):
    assert cric_dumps.read_sites(dumped({"S": site(tier_level=tier)}))["S"].tier_level is None


@pytest.mark.parametrize("reader", [cric_dumps.read_sites, cric_dumps.read_endpoints, cric_dumps.read_queue_storages])
@pytest.mark.parametrize("content", [b"{}", b'{"A": 1}', b"[]", b"<html>", b""])
def test_a_dump_without_anything_usable_is_unreadable(reader, content):
    with pytest.raises(UnreadableDump):
        reader(content)


def test_a_name_that_the_tables_cannot_hold_is_left_out():
    assert set(cric_dumps.read_sites(dumped({"S" * 52: site(), "S" * 53: site()}))) == {"S" * 52}


def test_endpoints_are_read():
    entry = {"state": "ACTIVE", "site": "S", "token": "ATLASDATADISK", "type": "DATADISK", "is_tape": False}
    found = cric_dumps.read_endpoints(
        dumped({"D": entry, "T": {**entry, "is_tape": True}, "OFF": {**entry, "state": "X"}})
    )
    assert found["D"] == Endpoint(name="D", site="S", token="ATLASDATADISK", type="DATADISK", is_tape=False)
    assert found["T"].is_tape and set(found) == {"D", "T"}


def test_usage_is_read_in_gb_and_only_where_it_is_whole():
    gb = 1024**3
    found = cric_dumps.read_usage(
        dumped(
            {
                "D": {
                    "storage": {"used": 10 * gb, "free": 5.4 * gb, "updated_at": "2026-01-02 03:04:05"},
                    "expired": {"used": gb},
                    "min_free_space": {"used": 2 * gb},
                    "unavailable": {"used": 3 * gb},
                },
                "HALF": {"storage": {"used": gb, "updated_at": "2026-01-02 03:04:05"}},
                "WHEN": {"storage": {"used": gb, "free": gb, "updated_at": "yesterday"}},
            }
        )
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found["D"] == Space(used=10, free=5, total=15, expired=1, min_free=2, unavailable=3, at=at)
    assert found["HALF"] == found["WHEN"] == Space()


def test_exclusions_are_statuses_by_activity():
    dump = {"D": {"read_wan": {"status": {"value": "OFF"}}, "write_wan": {"status": None}, "x": 1}}
    assert cric_dumps.read_exclusions(dumped(dump)) == {"D": {"read_wan": "OFF"}}


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("read_lan", ("read_lan", "default")),
        ("write_lan", ("write_lan", "default")),
        ("read_lan_analysis", ("read_lan", "analysis")),
        ("write_lan_special_x", ("write_lan", "special_x")),
    ],
)
def test_a_role_may_carry_a_scope(role, expected):
    assert role_and_scope(role) == expected


ENDPOINTS = {
    name: Endpoint(name=name, site=at, token=None, type=None, is_tape=False) for name, at in (("A", "S"), ("B", "T"))
}


def relations(storages, endpoints=ENDPOINTS):
    queue = QueueStorages(name="Q", site="S", storages=storages)
    return {(one.endpoint, one.scope): one for one in relations_of(queue, endpoints)}


def test_the_order_of_endpoints_counts_by_scope_and_direction():
    found = relations({"read_lan": ("A", "B"), "write_lan": ("B",), "read_lan_analysis": ("B",), "pr": ("A",)})
    assert set(found) == {("A", "default"), ("B", "default"), ("B", "analysis")}
    first, second, analysis = found["A", "default"], found["B", "default"], found["B", "analysis"]
    assert (first.order_read, first.order_write, first.default_read, first.default_write) == (1, None, "Y", "N")
    assert (second.order_read, second.order_write, second.default_read, second.default_write) == (2, 1, "N", "Y")
    assert (second.roles, analysis.roles, analysis.order_read) == ("read_lan,write_lan", "read_lan", 1)
    assert (first.is_local, second.is_local) == ("Y", "N")


def test_an_endpoint_that_is_not_active_keeps_its_place_but_has_no_relation():
    found = relations({"read_lan": ("OFF", "A")})
    assert {key: one.order_read for key, one in found.items()} == {("A", "default"): 2}


def test_what_belongs_to_no_active_site_is_not_stored():
    sites = {"S": Site(name="S", role="satellite", tier_level=1, endpoints=("A", "NONE"), queues=("Q", "STRANGE"))}
    queues = {
        "Q": QueueStorages(name="Q", site="S", storages={"read_lan": ("A", "B")}),
        "P": QueueStorages(name="P", site="T", storages={}),
    }
    tables = tables_of(sites, ENDPOINTS, queues, Exclusions(), {})
    assert [one.name for one in tables.endpoints] == ["A"]
    assert tables.queues == {"Q": "S"}
    assert [(one.queue, one.endpoint) for one in tables.relations] == [("Q", "A")]
    assert (tables.known_queues, tables.known_endpoints) == ({"Q", "P"}, {"A"})
    assert tables.faults == (
        "sites of queues are not active: T",
        "queues of sites have no description: STRANGE",
        "endpoints of queues are not active: B",
    )


@pytest.mark.parametrize(
    ("exclusions", "expected"),
    [
        (Exclusions(), (None, None, None)),
        (Exclusions(write=frozenset("A"), read=frozenset(), activities={}), ("Y", "N", {})),
        (Exclusions(read=frozenset("A"), activities={"A": {"x": "OFF"}}), (None, "Y", {"x": "OFF"})),
    ],
)
def test_exclusions_are_stored_where_they_are_known(exclusions, expected):
    sites = {"S": Site(name="S", role="satellite", tier_level=1, endpoints=("A",))}
    (row,) = tables_of(sites, ENDPOINTS, {}, exclusions, {}).endpoints
    assert (row.no_write, row.no_read, row.exclusions) == expected


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    "state site token type tier_level datapolicies ddmendpoints presources astorages storage status atlas_site".split()
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.dictionaries(KEYS, VALUE, max_size=5), max_size=3))
def test_no_dump_breaks_a_reader(dump):
    for entry in dump.values():
        entry["state"] = "ACTIVE"
    found = []
    for reader in (cric_dumps.read_sites, cric_dumps.read_endpoints, cric_dumps.read_queue_storages):
        try:
            found.append(reader(dumped(dump)))
        except UnreadableDump:
            found.append({})
    usage = cric_dumps.read_usage(dumped(dump))
    tables_of(*found, Exclusions(activities=cric_dumps.read_exclusions(dumped(dump))), usage)


def test_what_is_left_over_is_what_no_dump_has_and_what_is_of_a_site_that_is_gone():
    sites = {"S": Site(name="S", role="satellite", tier_level=1, endpoints=("A",), queues=("Q",))}
    storages = {"read_lan": ("A",)}
    queues = {name: QueueStorages(name=name, site="S", storages=storages) for name in ("Q", "MOVED", "STAYS")}
    stored = Stored(
        sites=frozenset(("S", "T")),
        queues={"Q": "T", "GONE": "S", "MOVED": "T", "STAYS": "S"},
        endpoints={"A": "T", "B": "S", "C": None},
        relations=frozenset({("Q", "A", "default"), ("Q", "A", "special"), ("GONE", "A", "default")}),
    )
    assert leftovers(stored, tables_of(sites, ENDPOINTS, queues, Exclusions(), {})) == Leftovers(
        sites=frozenset({"T"}),
        queues=frozenset({"GONE", "MOVED"}),
        endpoints=frozenset({"B", "C"}),
        relations=frozenset({("Q", "A", "special"), ("GONE", "A", "default")}),
    )
