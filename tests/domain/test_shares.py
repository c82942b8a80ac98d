"""Shares and resource types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.shares import ResourceTypeRow, ShareRow, resource_type_of, tree_of

TREE = tree_of(
    [
        ShareRow(name="Production", value=60, prodsourcelabel="managed|test"),
        ShareRow(name="Analysis", value=30, prodsourcelabel="user|panda"),
        ShareRow(name="Test", value=10, prodsourcelabel="ptest"),
        ShareRow(name="Heavy", value=3, parent="Production", prodsourcelabel="managed", workinggroup="GP_"),
        ShareRow(name="Other", value=1, parent="Production", prodsourcelabel="managed", workinggroup=".*"),
        ShareRow(name="Grid", value=1, parent="Analysis", prodsourcelabel="user|panda", rtype="GRID"),
        ShareRow(name="Rest", value=0, parent="Analysis", prodsourcelabel="user|panda"),
    ]
)


def test_values_are_parts_of_their_siblings_and_pledges_parts_of_all():
    pledges = {leaf.name: leaf.pledge for leaf in TREE.leaves}
    assert list(pledges) == ["Heavy", "Other", "Grid", "Rest", "Test"]
    assert pledges == pytest.approx({"Heavy": 0.45, "Other": 0.15, "Grid": 0.3, "Rest": 0.0, "Test": 0.1})


@pytest.mark.parametrize(
    ("job", "share"),
    [
        (("managed", "GP_higgs", None, "GRID"), "Heavy"),
        (("managed", None, None, "GRID"), "Other"),
        (("managed", "xGP_", None, "GRID"), "Other"),
        (("user", None, None, "GRID_x"), "Grid"),
        (("panda", None, "run", "hpc"), "Rest"),
        (("nobody", None, None, None), "Undefined"),
        (("xuser", None, None, "GRID"), "Undefined"),
    ],
)
def test_a_job_is_of_the_first_leaf_whose_patterns_match_at_the_start(job, share):
    assert TREE.share_of(*job) == share
    assert TREE.share_of(*job) == share  # the second time from memory


def test_event_service_merging_has_a_share_of_its_own():
    assert TREE.share_of("managed", None, None, None, event_service=2) == "Express"


def test_the_share_with_the_least_of_its_pledge_comes_first_and_one_without_a_pledge_last_among_its_siblings():
    ranks = TREE.ranks({"Heavy": 45, "Other": 1, "Grid": 10, "Rest": 0, "Test": 500})
    order = sorted((name for name in ranks if name != "Test"), key=ranks.__getitem__)
    assert order == ["Grid", "Rest", "Other", "Heavy"]
    assert ranks["Test"] == 0 and "Undefined" not in ranks


def test_siblings_are_compared_before_their_children():
    assert TREE.ranks({"Grid": 1000})["Other"] < TREE.ranks({"Grid": 1000})["Grid"]


@given(st.dictionaries(st.sampled_from(["Heavy", "Other", "Grid", "Rest", "Test"]), st.floats(0, 1e9)))
def test_every_leaf_has_one_rank(use):
    ranks = TREE.ranks(use)
    assert set(ranks) == {leaf.name for leaf in TREE.leaves} and len(set(ranks.values())) == len(ranks)


def test_rows_that_cannot_be_used_are_named_and_do_no_harm():
    tree = tree_of(
        [
            ShareRow(name="A", value=1, prodsourcelabel="("),
            ShareRow(name="B", value=1, parent="C"),
            ShareRow(name="C", value=1, parent="B"),
            ShareRow(name="D", value=1),
        ]
    )
    assert [leaf.name for leaf in tree.leaves] == ["A", "D"]
    assert len(tree.faults) == 3 and all(name in " ".join(tree.faults) for name in ("share A", "share B", "share C"))
    assert tree.share_of("(", None, None, None) == "D"


def test_an_empty_table_makes_every_job_undefined():
    assert tree_of([]).share_of("user", None, None, None) == "Undefined" and tree_of([]).ranks({}) == {}


def test_what_users_send_does_not_fill_the_memory():
    tree = tree_of([ShareRow(name="A", value=1)])
    for number in range(10_000):
        tree.share_of("user", str(number), None, None)
    assert len(tree._known) < 5000


ROWS = (
    ResourceTypeRow(name="SCORE", min_core=1, max_core=1, min_ram_per_core=0, max_ram_per_core=2000),
    ResourceTypeRow(name="MCORE", min_core=2, min_ram_per_core=0, max_ram_per_core=2000),
    ResourceTypeRow(name="SCORE_HIMEM", max_core=1, min_ram_per_core=2001, max_ram_per_core=20000),
)


@pytest.mark.parametrize(
    ("ram", "cores", "name"),
    [
        (0, None, "SCORE"),
        (2000, 1, "SCORE"),
        (2001, 1, "SCORE_HIMEM"),
        (16000, 0, "MCORE"),  # no cores means eight
        (16004, 8, "MCORE"),  # 2,000.5 is rounded to even
        (16012, 8, "Undefined"),
        (99999, 1, "Undefined"),
    ],
)
def test_the_resource_type_is_the_first_that_holds_cores_and_memory_per_core(ram, cores, name):
    assert resource_type_of(ram, cores, ROWS) == name
