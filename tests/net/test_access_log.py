"""The lines of the access log."""

from time import process_time

import pytest

from pandatx.net.accesslog import Entry, line

NOW = 1_767_225_600.0


def test_the_access_log_is_apaches_combined_form_and_then_ours():
    entry = Entry(
        address="192.0.2.1",
        method=b"POST",
        uri=b"/server/panda/getJob",
        version=b"HTTP/1.1",
        status=200,
        size=512,
        agent=b"pilot/3.11",
        request_id="ab-1",
        seconds=0.01234,
        caller="John Doe",
    )
    assert line(entry, NOW) == (
        '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "POST /server/panda/getJob HTTP/1.1" 200 512 '
        '"-" "pilot/3.11" ab-1 0.0123 "John Doe"'
    )


def test_the_access_log_can_neither_be_forged_nor_made_to_tell_secrets():
    entry = Entry(
        address="192.0.2.1",
        method=b"GET",
        uri=b"/server/panda/get_access_token?client_name=x&token_key=verysecret&y=1",
        version=b"HTTP/1.1",
        status=403,
        size=0,
        agent=b'a" 200 1\n127.0.0.1 - - \xff',
    )
    text = line(entry, NOW)
    assert "verysecret" not in text
    assert "client_name=x&token_key=***&y=1" in text
    assert "\n" not in text
    assert '"a\\x22 200 1\\x0a127.0.0.1 - - \\xff"' in text


@pytest.mark.parametrize("part", [b"token", b"?key", b"&key", b"key=&"])
def test_no_request_holds_up_the_server_while_it_is_logged(part):
    begun = process_time()
    for _ in range(10):
        uri = b"/x?" + part * (16_000 // len(part))
        line(Entry(address="192.0.2.1", method=b"GET", uri=uri, version=b"HTTP/1.1", status=403, size=0), NOW)
    assert process_time() - begun < 0.5


def test_what_somebody_keeps_for_his_jobs_is_not_in_the_access_log():
    uri = b"/server/panda/set_user_secret?key=name&value=verysecret"
    text = line(Entry(address="192.0.2.1", method=b"GET", uri=uri, version=b"HTTP/1.1", status=200, size=9), NOW)
    assert "verysecret" not in text
    assert "/server/panda/set_user_secret?" in text
