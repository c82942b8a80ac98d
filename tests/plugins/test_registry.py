"""Which plugin serves which VO (R37)."""

from __future__ import annotations

import pytest

from pandatx.plugins.registry import PluginFaults, fault_in_a_child, resolve


def no_check(role, target):
    return "No module named 'nowhere'"


@pytest.mark.parametrize("folder", ["dataservice.", "pandaserver.dataservice."])
@pytest.mark.parametrize(
    ("role", "name", "target"),
    [
        ("setupper", "SetupperDummyPlugin:SetupperDummyPlugin", "pandatx.plugins.dummy:Setupper"),
        ("setupper", "setupper_dummy_plugin:SetupperDummyPlugin", "pandatx.plugins.dummy:Setupper"),
        ("adder", "AdderDummyPlugin:AdderDummyPlugin", "pandatx.plugins.dummy:Adder"),
        ("adder", "adder_dummy_plugin:AdderDummyPlugin", "pandatx.plugins.dummy:Adder"),
    ],
)
def test_the_older_names_of_the_dummies_mean_ours(folder, role, name, target):
    assert resolve([(("wlcg",), folder + name, None)], role, no_check).for_vo("wlcg") == target


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("adder", "pandaserver.dataservice.adder_simple_plugin:AdderSimplePlugin"),
        ("adder", "dataservice.AdderAtlasPlugin:AdderAtlasPlugin"),
        ("setupper", "pandaserver.dataservice.setupper_atlas_plugin:SetupperAtlasPlugin"),
    ],
)
def test_the_plugins_that_need_rucio_are_a_clear_fault(role, name):
    with pytest.raises(PluginFaults, match=r"VO atlas\|wlcg.*rucio") as raised:
        resolve([(("atlas", "wlcg"), name, None)], role, no_check)
    assert raised.value.exit_code == 3


def test_group_goes_before_vo_and_any_comes_last():
    local, dummy = "pandatx.plugins.local:Adder", "pandatx.plugins.dummy:Adder"
    registry = resolve([(("a",), local, "DE"), (("a", "any"), dummy, None), (("b",), local, None)], "adder", no_check)
    assert [registry.for_vo(*key) for key in [("a", "DE"), ("a", "US"), ("a", None), ("b", "DE"), ("x", None)]] == [
        local,
        dummy,
        dummy,
        local,
        dummy,
    ]


def test_without_an_entry_the_dummy_serves():
    assert resolve([], "setupper", no_check).for_vo(None) == "pandatx.plugins.dummy:Setupper"


def test_every_entry_at_fault_is_told_with_its_vo():
    entries = [(("a",), "nowhere.at:All", None), (("b", "c"), "nowhere:Else", None), (("d",), "dataservice.x:Y", None)]
    with pytest.raises(PluginFaults) as raised:
        resolve(entries, "adder", no_check)
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "adder plugin of VO a",
        "adder plugin of VO b|c",
        "adder plugin of VO d",
    ]


def test_a_plugin_of_the_other_role_is_a_fault():
    with pytest.raises(PluginFaults, match="not a plugin of the adder"):
        resolve([(("a",), "dataservice.SetupperDummyPlugin:SetupperDummyPlugin", None)], "adder", no_check)


def test_a_class_that_follows_our_interface_is_used_and_another_is_told_why_not(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "print('loading')\n"
        "class Good:\n    def add(self, jobs, settings): return []\n"
        "class Bad:\n    def __init__(self, job): pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert resolve([(("a",), "mine:Good", None)], "adder").for_vo("a") == "mine:Good"
    (tmp_path / "empty.py").write_text("")
    assert "no attribute 'Good'" in fault_in_a_child("adder", "empty:Good")
    assert "no method setup" in fault_in_a_child("setupper", "mine:Good")
    assert "missing 1 required positional argument" in fault_in_a_child("adder", "mine:Bad")
    assert "No module named 'absent'" in fault_in_a_child("adder", "absent:Good")
