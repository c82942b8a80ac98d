"""The limits of callers and operations, as an operator sets them."""

import pytest

from pandatx.config import ConfigurationFaults, load

MIB = 1 << 20


def limits(tmp_path, text):
    path = tmp_path / "panda_server.cfg"
    path.write_text("[pandatx]\n" + text)
    return load(path, {"PANDA_SERVER_CONF_SERVERNAME": "here"}).http


def test_without_a_word_there_are_sane_limits(tmp_path):
    found = limits(tmp_path, "")
    assert (found.requests_per_caller, found.requests_per_role, found.large_bodies_per_caller) == (64, None, 4)
    assert (found.header_timeout, found.body_timeout, found.request_timeout) == (30.0, 600.0, 300.0)
    assert (found.body_rate, found.max_headers, found.max_header_bytes) == (16384, 500, 16384)
    assert (found.connections_per_address, found.max_connections) == (512, 4096)
    assert found.of_operations == {}


def test_limits_of_an_operation_are_given_in_megabytes_and_seconds(tmp_path):
    found = limits(tmp_path, 'operation_limits = {"job/submit": {"megabytes": 1.5, "seconds": 600}}')
    assert found.of_operations == {"job/submit": {"inflated": 3 * MIB // 2, "seconds": 600.0}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"job/submit": 5}', 'the limits of "job/submit" are not an object with megabytes or seconds'),
        ('{"job/submit": {}}', "are not an object"),
        ('{"job/submit": {"minutes": 5}}', "are not an object"),
        ('{"job/submit": {"seconds": "5"}}', 'seconds of "job/submit" is not a number above 0'),
        ('{"job/submit": {"seconds": true}}', "is not a number above 0"),
        ('{"job/submit": {"megabytes": 0}}', "is not a number above 0"),
        ("[1]", "not a JSON object"),
    ],
)
def test_limits_that_are_none_are_one_fault(tmp_path, value, why):
    with pytest.raises(ConfigurationFaults) as raised:
        limits(tmp_path, f"operation_limits = {value}")
    assert why in str(raised.value.faults[0])
