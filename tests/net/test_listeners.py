"""The listeners as a service: real ports, real ends."""

import os
import pwd
import socket
import ssl
import subprocess
import sys
import time

import pytest
from serving import Page, client_context, in_thread, listeners, until
from twisted.web.resource import Resource

from pandatx.errors import EXIT_CONFIGURATION, EXIT_PORT, StartFault
from pandatx.net.ports import Ports, holder
from pandatx.net.site import Watchers
from pandatx.net.user import server_user


def ask(port, path=b"/x", context=None, keep=b"keep-alive"):
    """A whole exchange on a connection of its own: all that came until the server closed it."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    with connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n" % (path, keep))
        return read_all(connection)


def read_all(connection):
    came = b""
    while piece := connection.recv(65536):
        came += piece
    return came


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_http_https_and_the_cache_port_are_served(tmp_path):
    service = listeners(tmp_path, cache_port=0)
    service.startService()
    try:
        assert set(service.numbers) == {"http", "https", "cache"}
        for name, port in service.numbers.items():
            context = client_context(tmp_path) if name == "https" else None
            assert b"200 OK" in await in_thread(ask, port, b"/x", context, b"close")
    finally:
        await service.stopService()


async def test_without_a_cache_port_there_are_two_listeners(tmp_path):
    service = listeners(tmp_path)
    service.startService()
    assert set(service.numbers) == {"http", "https"}
    await service.stopService()


@pytest.mark.parametrize("name", ["http", "https"])
async def test_a_stop_refuses_what_is_new_and_lets_a_request_finish(tmp_path, name):
    page = Page()
    service = listeners(tmp_path, page)
    service.startService()
    port = service.numbers[name]
    asked = in_thread(ask, port, b"/hold", client_context(tmp_path) if name == "https" else None)
    request = await page.asked
    stopped = service.stopService()
    await until(lambda: is_refused(port))
    assert not stopped.called
    request.write(b"a" * 3_000_000)
    request.finish()
    answer = await asked
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"a") >= 3_000_000
    await stopped


async def test_a_stop_closes_idle_connections_at_once(tmp_path):
    service = listeners(tmp_path)
    service.startService()
    asked = in_thread(ask, service.numbers["http"])
    await until(lambda: service.counters.requests)
    await service.stopService()
    assert (await asked).startswith(b"HTTP/1.1 200")


async def test_a_request_that_outlasts_the_drain_is_cut_off(tmp_path):
    page = Page()
    service = listeners(tmp_path, page, drain=0.05)
    service.startService()
    asked = in_thread(ask, service.numbers["http"], b"/hold")
    await page.asked
    await service.stopService()
    with pytest.raises(ConnectionResetError):
        await asked
    assert len(service.connections) == 0


async def test_a_stalled_handshake_does_not_hold_up_the_stop(tmp_path):
    service = listeners(tmp_path, drain=0.05)
    service.startService()
    with socket.create_connection(("127.0.0.1", service.numbers["https"]), 5):
        await until(lambda: len(service.connections))
        await service.stopService()
    assert len(service.connections) == 0


async def test_too_many_connections_are_closed_before_any_handshake(tmp_path):
    service = listeners(tmp_path, connections_per_address=1)
    service.startService()
    port = service.numbers["https"]
    context = client_context(tmp_path)

    def second():
        with pytest.raises((ssl.SSLError, OSError)):
            ask(port, b"/x", context)

    try:
        with socket.create_connection(("127.0.0.1", port), 5):
            await until(lambda: len(service.connections))
            await in_thread(second)
        assert service.counters.refused == 1
    finally:
        await service.stopService()


def drip(port, context, begin, pause):
    """Send the beginning of a request, then a byte now and then; what was answered, and after how long."""
    begun = time.monotonic()
    connection = socket.create_connection(("127.0.0.1", port), 10)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    with connection:
        connection.sendall(begin)
        connection.settimeout(pause)
        while True:
            try:
                return connection.recv(100), time.monotonic() - begun
            except TimeoutError:
                connection.sendall(b"a")


@pytest.mark.parametrize("name", ["http", "https"])
@pytest.mark.parametrize("begin", [b"POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", b"GET /x HTTP/1.1\r\nX: "])
async def test_what_drips_is_cut_off_on_a_real_socket(tmp_path, name, begin):
    service = listeners(tmp_path, header_timeout=0.6, body_timeout=0.6)
    service.startService()
    try:
        context = client_context(tmp_path) if name == "https" else None
        answer, lasted = await in_thread(drip, service.numbers[name], context, begin, 0.05)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert 0.5 < lasted < 5
    finally:
        await service.stopService()


async def test_how_large_a_body_may_be_is_asked_by_its_path_on_every_port(tmp_path):
    service = listeners(tmp_path, body_limit=lambda path: 10 if path == b"/small" else 20)
    service.startService()
    begin = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 15\r\n\r\n" + b"a" * 15
    try:
        for name in ("http", "https"):
            context = client_context(tmp_path) if name == "https" else None
            for path, status in ((b"/small", b"413"), (b"/other", b"200")):
                answer, _ = await in_thread(drip, service.numbers[name], context, begin % path, 5)
                assert answer[9:12] == status
    finally:
        await service.stopService()


async def test_a_client_that_reads_nothing_is_cut_off_on_a_real_socket(tmp_path):
    service = listeners(tmp_path, Flood(), answer_timeout=0.3)
    service.startService()
    try:
        with socket.create_connection(("127.0.0.1", service.numbers["http"]), 10) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: service.counters.timed_out == 1)
            await until(lambda: len(service.connections) == 0)
    finally:
        await service.stopService()


class Flood(Resource):
    """An answer larger than any buffer of the kernel."""

    isLeaf = True

    def render(self, request):
        return b"x" * (64 << 20)


async def test_the_service_can_be_started_again_on_the_same_port(tmp_path):
    first = listeners(tmp_path)
    first.startService()
    port = first.numbers["http"]
    await first.stopService()
    again = listeners(tmp_path, http_port=port)
    again.startService()
    assert again.numbers["http"] == port
    await again.stopService()


def listening(port=0, share=False):
    made = socket.socket()
    if share:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


@pytest.mark.parametrize("share", [False, True])
def test_a_port_that_somebody_else_has_is_one_clear_line(tmp_path, share):
    with listening(share=share) as other:
        port = other.getsockname()[1]
        service = listeners(tmp_path, http_port=port)
        with pytest.raises(StartFault, match=rf"port {port} is taken by process \d+ \(") as fault:
            service.bind()
        assert fault.value.exit_code == EXIT_PORT
    assert service.numbers == {}


def test_the_holder_of_a_port_that_nobody_holds_is_not_named():
    with listening() as free:
        port = free.getsockname()[1]
    assert holder(port) == "another process"


SECOND = """
import sys
from pathlib import Path
from pandatx.errors import StartFault
from pandatx.net.ports import Ports
ports = Ports(Path(sys.argv[1]))
ports.lock()
try:
    made = ports.bind(int(sys.argv[2]), "127.0.0.1")
    made.listen()
    print("shared")
except StartFault as fault:
    print(fault)
"""


def second_process(state, port):
    command = [sys.executable, "-c", SECOND, str(state), str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_processes_of_one_state_directory_share_their_ports(tmp_path):
    ports = Ports(tmp_path / "a")
    ports.lock()
    with ports.bind(0, "127.0.0.1") as made:
        made.listen()
        port = made.getsockname()[1]
        assert second_process(tmp_path / "a", port) == "shared"
        assert "is taken by process" in second_process(tmp_path / "b", port), "another server's state directory"


def test_a_process_that_joins_does_not_share_the_ports_of_strangers(tmp_path):
    ports = Ports(tmp_path)
    ports.lock()
    with ports.bind(0, "127.0.0.1"), listening(share=True) as stranger:
        assert "is taken by process" in second_process(tmp_path, stranger.getsockname()[1])


def test_an_unshared_port_lets_nobody_in(tmp_path):
    ports = Ports(tmp_path, share=False)
    ports.lock()
    with ports.bind(0, "127.0.0.1") as made:
        made.listen()
        assert not made.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert "is taken" in second_process(tmp_path, made.getsockname()[1])


def test_ports_of_dead_processes_are_forgotten(tmp_path):
    (tmp_path / "ports.lock").write_text("25443 999999999\n1\n")
    ports = Ports(tmp_path)
    ports.lock()
    assert ports._noted() == set()


async def test_an_ipv4_client_is_known_by_its_ipv4_address_on_a_socket_for_both_families(tmp_path):
    lines = []
    service = listeners(tmp_path, interface="", watchers=Watchers(access_log=lines.append))
    service.startService()
    try:
        await in_thread(ask, service.numbers["http"], b"/x", None, b"close")
    finally:
        await service.stopService()
    assert lines[0].startswith("127.0.0.1 - - [")


def test_a_state_directory_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StartFault, match=r"state_dir .* cannot be used: Not a directory"):
        Ports(tmp_path / "file" / "state").lock()


def test_both_families_are_served_on_one_socket(tmp_path):
    with Ports(tmp_path, share=False).bind(0) as made:
        made.listen()
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, made.getsockname()[1]), 5).close()


def test_giving_up_root_needs_a_user_and_a_group_that_exist():
    for user, group, word in (("no-such-user", None, "user no-such-user"), ("root", "no-such-group", "group no-such-")):
        with pytest.raises(StartFault, match=f"there is no {word}") as fault:
            server_user(user, group)
        assert fault.value.exit_code == EXIT_CONFIGURATION


GIVE_UP = """
import os, sys
from pathlib import Path
from pandatx.errors import StartFault
from pandatx.net.user import server_user
folder = Path(sys.argv[1])
try:
    user = server_user("nobody", None)
    user.hand_over(folder)
    user.become(folder)
except StartFault as fault:
    print(fault)
print(os.getresuid(), os.getresgid(), os.environ["USER"])
try:
    os.setuid(0)
except PermissionError:
    print("for good")
"""


def become_nobody(folder):
    command = [sys.executable, "-c", GIVE_UP, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.splitlines()


def test_root_is_given_up_for_good(tmp_path):
    said = become_nobody(tmp_path)
    if os.getuid() != 0:
        assert "only root can become nobody" in said[0]
        return
    nobody = pwd.getpwnam("nobody")
    assert said[-2:] == [f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3} nobody", "for good"]
    # pytest's folders are closed to others, and so may be this Python: either way one line says so
    assert [line.startswith("[pandatx] user: nobody cannot ") for line in said[:-2]] == [True]


def test_what_root_made_in_the_servers_folders_becomes_the_users_and_nothing_else(tmp_path):
    (tmp_path / "state" / "spool").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    for name in ("ports.lock", "spool/1"):
        (tmp_path / "state" / name).write_text("x")
    (tmp_path / "state" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "state" / "twin").hardlink_to(tmp_path / "outside")
    become_nobody(tmp_path / "state")
    heir = os.getuid() or pwd.getpwnam("nobody").pw_uid
    taken = [tmp_path / "state" / name for name in ("", "spool", "spool/1", "ports.lock")]
    assert {path.stat().st_uid for path in taken} == {heir}
    assert {path.lstat().st_uid for path in (tmp_path / "outside", tmp_path / "state" / "link")} == {os.getuid()}
