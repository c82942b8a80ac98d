"""The operator's handlers of asynchronous requests, at the start of the server."""

import pytest

from pandatx.config import load
from pandatx.config.faults import ConfigurationFaults
from pandatx.errors import StartFault
from pandatx.plugins.handlers import check_handlers


def test_functions_that_exist_are_taken():
    known = {"workflow": "pandatx.workers.requests:sleep_echo"}
    assert check_handlers(known) == known


def test_all_that_do_not_exist_are_told_at_once():
    wrong = {"workflow": "no.such.module:f", "event_picking": "json:nothing", "own": "json:__doc__"}
    with pytest.raises(StartFault) as told:
        check_handlers(wrong)
    line = str(told.value)
    assert "workflow: no.such.module:f: ModuleNotFoundError: No module named 'no'" in line
    assert "event_picking: json:nothing: AttributeError" in line
    assert "own: json:__doc__: TypeError: json:__doc__ is not a function" in line
    assert told.value.exit_code == 3


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"workflow": "no colon"}', 'the handler of "workflow" is not of the form package.module:function'),
        ('{"workflow": "os:system; x"}', "is not of the form"),
        ('{"workflow": 1}', "is not of the form"),
        ('{"grep": "a:b"}', '"grep" is no type of request that can have another handler'),
        ('{"Work Flow": "a:b"}', "is no type of request"),
        ("[]", "not a JSON object"),
    ],
)
def test_a_faulty_key_is_told_with_its_line(tmp_path, value, why):
    path = tmp_path / "panda_server.cfg"
    path.write_text(f"[pandatx]\nrequest_handlers = {value}\n")
    with pytest.raises(ConfigurationFaults) as told:
        load(path, {})
    assert why in str(told.value)
    assert "request_handlers" in str(told.value)
