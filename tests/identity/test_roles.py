"""Who holds which role (rules R27, R28)."""

import attrs
import pytest

from pandatx.identity import roles
from pandatx.identity.names import compact_name
from pandatx.identity.roles import Roles


@attrs.frozen
class Lists:
    production_dns: tuple[str, ...] = ()
    pilot_owners: tuple[str, ...] = ()
    loose_dn_match: bool = False
    vo_members_are_pilots: tuple[str, ...] = ()


DN = "/DC=ch/DC=cern/OU=Users/CN=jdoe/CN=614260/CN=John Doe"


@pytest.mark.parametrize(
    "entry", [DN, "John Doe", "/CN=John Doe", "CN=John Doe", "/OU=Users/CN=jdoe", "/CN=jdoe/CN=614260/CN=John Doe"]
)
def test_an_entry_means_a_whole_name_a_whole_dn_or_a_run_of_whole_rdns(entry):
    assert roles.matches(entry, DN, compact_name(DN))


@pytest.mark.parametrize("entry", ["", "/", "John", "Doe", "/CN=John", "/CN=j", "CN=jdoe/CN=John Doe", ".*", "/CN=.*"])
def test_a_part_of_a_name_means_nobody(entry):
    assert not roles.matches(entry, DN, compact_name(DN))
    granted = Roles(Lists(production_dns=(entry,), pilot_owners=(entry,))).of_certificate(DN, "John Doe")
    assert not granted.production
    assert not granted.pilot


def test_the_older_reading_counts_only_when_the_site_asks_for_it():
    strict = Roles(Lists(production_dns=("/CN=John",))).of_certificate(DN, "John Doe")
    assert not strict.production
    assert strict.loosely == ("/CN=John",)
    loose = Roles(Lists(production_dns=("/CN=John",), loose_dn_match=True)).of_certificate(DN, "John Doe")
    assert loose.production
    assert Roles(Lists(pilot_owners=("CN=J.*Doe$",), loose_dn_match=True)).of_certificate(DN, "John Doe").pilot


def test_entries_that_only_the_older_reading_can_mean_are_named_at_start():
    entries = ("/DC=ch/CN=x", "John Doe", "CN=Pilot.*", "^/DC=ch", "/cern")
    assert roles.loose_entries(entries) == ("CN=Pilot.*", "^/DC=ch", "/cern")
    assert roles.loose_entries(("Doe", "John Doe", "nobody"), [DN]) == ("Doe",)


def test_a_broken_regular_expression_matches_nothing():
    assert not roles.matches_loosely("CN=(", DN)


def test_production_implies_pilot_and_a_pilot_owner_is_not_production():
    producer = Roles(Lists(production_dns=("John Doe",))).of_certificate(DN, "John Doe")
    assert (producer.production, producer.pilot) == (True, True)
    owner = Roles(Lists(pilot_owners=("John Doe",))).of_certificate(DN, "John Doe")
    assert (owner.production, owner.pilot) == (False, True)


@pytest.mark.parametrize(
    ("fqan", "production", "pilot"),
    [
        ("/atlas/Role=production/Capability=NULL", True, True),
        ("/atlas/usatlas/Role=production", True, True),
        ("/wlcg/Role=production", True, True),
        ("/wlcg/Role=pilot", False, True),
        ("/atlas/usatlas/Role=pilot/Capability=NULL", False, True),
        ("/Engage/LBNE/Role=pilot", False, True),
        ("/atlas/phys-higgs/Role=production", False, False),
        ("/atlas/phys-higgs/Role=pilot", False, False),
        ("/atlas/Role=productionist", False, False),
        ("/atlas", False, False),
        ("/atlas/Role=NULL", False, False),
        ("x/atlas/Role=production", False, False),
    ],
)
def test_fqans_give_roles(fqan, production, pilot):
    granted = Roles(Lists()).of_fqans((fqan,))
    assert (granted.production, granted.pilot) == (production, pilot)


def test_members_of_a_vo_are_pilots_only_where_the_site_says_so():
    assert not Roles(Lists()).of_fqans(("/atlas/Role=NULL",)).pilot
    members = Roles(Lists(vo_members_are_pilots=("atlas",)))
    assert members.of_fqans(("/atlas",)).pilot
    assert members.of_fqans(("/atlas/Role=NULL",)).pilot
    assert not members.of_fqans(("/atlasx/Role=NULL",)).pilot


def test_working_groups_come_from_the_groups_that_one_may_produce_for():
    assert roles.working_groups(["/atlas/phys-higgs/Role=production", "/atlas/usatlas/Role=production"]) == (
        "phys-higgs",
        "gr_phys-higgs",
        "higgs",
    )
    assert roles.working_groups(["/wlcg/Bulk/Role=production", "/wlcg/other"]) == ("bulk",)


def test_a_role_that_comes_from_a_compact_name_alone_is_marked():
    """Several subjects may have the name (rule R27)."""

    def by_name(*entries, fqans=()):
        return Roles(Lists(production_dns=entries)).of_certificate(DN, "John Doe", fqans).by_name

    assert by_name("John Doe")
    assert not by_name("John Doe", DN)
    assert not by_name(DN)
    assert not by_name("Somebody")
    assert not by_name("John Doe", fqans=("/atlas/Role=production",))
