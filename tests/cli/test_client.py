"""How the command line finds its server, and what it says when it is not heard."""

import http.server
import json
import ssl
import threading
from datetime import UTC, datetime

import pytest

from pandatx.cli import init
from pandatx.cli.client import Client, Place, Refused, Unreachable, find
from pandatx.cli.documents import Places
from pandatx.errors import StartFault


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client") / "home"
    places = Places(home=folder, http_port=1, https_port=2, metrics_port=3, user="nobody", group="nogroup")
    init.write(places, datetime.now(UTC))
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.asked.append((self.path, json.loads(self.rfile.read(length))))
        self.server.subjects.append(self.connection.getpeercert())
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.headers["Content-Length"] = "2"
        self.rfile = __import__("io").BytesIO(b"{}")
        self.do_POST()

    def log_message(self, *_):
        return


@pytest.fixture
def listening(home):
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(home / "ca.pem"))
    context.load_cert_chain(home / "hostcert.pem", home / "hostkey.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked, server.subjects, server.answer = [], [], (200, b'{"success": true, "message": "", "data": [1]}')
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(home, listening):
    return Client(of(home, f"https://localhost:{listening.server_address[1]}"))


def of(home, url):
    return Place(url=url, authorities=home / "ca.pem", certificate=home / "user.pem", transformation="x")


def test_the_option_wins_over_the_variable_and_that_over_the_folder(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "client.json").write_text('{"url": "https://other:1", "ca": "c", "certificate": "p"}')
    environ = {"PANDATX_HOME": str(other), "PANDA_URL_SSL": "https://third:25443/server/panda"}
    assert find(home, environ, other).url == "https://localhost:2"
    assert find(None, environ, home).url == "https://other:1"
    assert find(None, {"PANDA_URL_SSL": "https://third"}, home).url == "https://localhost:2"
    assert find(None, {"PANDA_URL_SSL": "https://third:25443/server/panda"}, tmp_path).url == "https://third:25443"


def test_what_init_wrote_names_address_authority_certificate_and_transform(home):
    place = find(home, {}, home)
    assert (place.authorities, place.certificate) == (home / "ca.pem", home / "production.pem")
    assert place.transformation == "http://localhost:1/trf/user/runGen-00-00-02"


def test_the_variables_of_the_older_client_name_proxy_and_authorities(tmp_path):
    environ = {"PANDA_URL_SSL": "https://panda:25443/server/panda", "X509_USER_PROXY": "/p", "X509_CERT_DIR": "/c"}
    place = find(None, environ, tmp_path)
    assert (str(place.authorities), str(place.certificate)) == ("/c", "/p")
    assert place.transformation == "https://panda:25443/trf/user/runGen-00-00-02"


@pytest.mark.parametrize("environ", [{}, {"PANDA_URL_SSL": "http://plain"}, {"PANDA_URL_SSL": "https://x:port"}])
def test_without_a_server_it_is_a_usage_fault(environ, tmp_path):
    with pytest.raises(StartFault) as fault:
        find(None, environ, tmp_path)
    assert fault.value.exit_code == 2


@pytest.mark.parametrize("text", [None, "nonsense", "{}", '{"url": 1, "ca": "c", "certificate": "p"}'])
def test_a_client_file_that_is_none_is_a_usage_fault(tmp_path, text):
    if text is not None:
        (tmp_path / "client.json").write_text(text)
    with pytest.raises(StartFault) as fault:
        find(tmp_path, {}, tmp_path)
    assert fault.value.exit_code == 2 and "client.json" in str(fault.value)


def test_requests_are_made_as_the_holder_of_the_certificate(client, listening):
    assert client.post("job/kill", job_ids=[1]) == [1]
    assert listening.asked == [("/api/v1/job/kill", {"job_ids": [1]})]
    assert "user" in str(listening.subjects[0]["subject"])


def test_fields_that_are_none_do_not_travel(client, listening):
    client.get("pandatx/list_jobs", status=None, queue="A B")
    assert listening.asked[0][0] == "/api/v1/pandatx/list_jobs?queue=A+B"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b'{"success": false, "message": "no such queue", "data": null}', "no such queue"),
        (403, b'{"success": false, "message": "not yours", "data": null}', "not yours"),
        (502, b"<html>\nBad Gateway", "the server says 502: <html>"),
        (500, b"", "the server says 500: no text"),
    ],
)
def test_a_refusal_is_the_servers_own_words(client, listening, status, body, says):
    listening.answer = (status, body)
    with pytest.raises(Refused) as refusal:
        client.post("job/kill", job_ids=[1])
    assert str(refusal.value) == says


def test_a_server_with_a_certificate_of_somebody_else_is_not_spoken_to(home, listening, tmp_path):
    init.write(
        Places(home=tmp_path / "x", http_port=1, https_port=2, metrics_port=3, user="a", group="a"), datetime.now(UTC)
    )
    url = f"https://localhost:{listening.server_address[1]}"
    place = Place(url=url, authorities=tmp_path / "x" / "ca.pem", certificate=None, transformation="x")
    with pytest.raises(Unreachable, match="is not who it should be"):
        Client(place).post("job/kill", job_ids=[1])
    assert listening.asked == []


def test_nobody_there_is_one_line(home):
    with pytest.raises(Unreachable, match="cannot be reached: Connection refused"):
        Client(of(home, "https://127.0.0.1:1")).post("job/kill", job_ids=[1])


def test_a_certificate_or_authority_that_is_not_there_is_named(home, tmp_path):
    gone = tmp_path / "gone.pem"
    for changes in ({"certificate": gone}, {"authorities": gone}):
        place = Place(
            **{"url": "https://localhost:1", "authorities": None, "certificate": None, "transformation": "", **changes}
        )
        with pytest.raises(Unreachable, match=r"gone\.pem cannot be used"):
            Client(place).get("x")
