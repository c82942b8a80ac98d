"""A folder made by ``pandatx init``, and proxies made by ``pandatx proxy``."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from OpenSSL import crypto

from pandatx.cli.main import main
from pandatx.config import load
from pandatx.domain.queues import load_dump
from pandatx.identity import authority, names, proxies
from pandatx.identity.roles import Roles
from pandatx.identity.trust import read_trust
from pandatx.net.tls import ServerTLS
from pandatx.plugins import registry


def pandatx(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "server"
    done = pandatx("init", folder, "--http-port", 31080, "--https-port", 31443, "--cache-port", 31085)
    assert done.exit_code == 0, done.output
    return folder


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_says_what_each_file_is_and_which_is_a_master_key(tmp_path):
    said = pandatx("init", tmp_path / "new").output
    for name in (
        "panda_server.cfg",
        "panda_common.cfg",
        "ca.pem",
        "hostcert.pem",
        "hostkey.pem",
        "production.pem",
        "user.pem",
        "pilot-proxy.pem",
        "client.json",
        "queues.json",
        "ddmendpoints.json",
        "trf/user/runGen-00-00-02",
        "state/",
    ):
        assert name in said
    assert any("production.pem" in line and "MASTER KEY" in line for line in said.splitlines())


def test_keys_are_for_the_owner_only_and_the_rest_for_all(home):
    for path in home.rglob("*"):
        if path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or path.name == "client.json"):
            assert mode(path) == 0o600, path
    assert mode(home / "state") == 0o700
    assert mode(home / "trf/user/runGen-00-00-02") == 0o755
    assert mode(home / "queues.json") == 0o644


def test_the_configuration_is_read_without_a_fault_or_a_warning(home):
    config = load(home / "panda_server.cfg", {})
    assert config.warnings == ()
    assert config.daemon.faults == ()
    assert config.daemon.enable
    assert [entry.name for entry in config.daemon.entries] == [
        "add_main",
        "add_sub",
        "copyArchive",
        "datasetManager",
        "cache_schedconfig",
    ]
    assert (config.http.http_port, config.http.https_port, config.http.cache_port) == (31080, 31443, 31085)
    assert config.http.url_cache_port == 31085
    assert config.database.host is None
    assert config.ops.metrics_address[1] not in (25090, 31080, 31443, 31085)
    assert config.process.state_dir == home / "state"
    assert config.jobs.storage == {"LOCAL_DATA": str(home / "storage")}
    for folder in (
        config.files.logdir,
        config.files.cache_dir,
        config.files.schedconfig_cache_dir,
        config.files.trf_dir,
    ):
        assert folder.is_dir()
        assert folder.is_relative_to(home)


def test_its_plugins_are_the_local_ones(home):
    jobs = load(home / "panda_server.cfg", {}).jobs
    for role, entries in (("adder", jobs.adder_plugins), ("setupper", jobs.setupper_plugins)):
        ours = registry.resolve([(entry.vos, entry.target, entry.group) for entry in entries], role)
        assert ours.for_vo("anything") == f"pandatx.plugins.local:{role.capitalize()}"


def test_the_roles_are_those_of_the_certificates(home):
    roles = Roles(load(home / "panda_server.cfg", {}).identity)

    def of(file):
        credential = authority.load((home / file).read_bytes())
        return roles.of_certificate(credential.dn, names.compact_name(credential.dn))

    assert (of("production.pem").production, of("production.pem").pilot) == (True, True)
    assert (of("pilot.pem").production, of("pilot.pem").pilot) == (False, True)
    assert (of("user.pem").production, of("user.pem").pilot) == (False, False)


def test_the_pilots_proxy_lives_four_days_and_stands_for_the_pilot(home):
    proxy = authority.load((home / "pilot-proxy.pem").read_bytes())
    assert proxies.proxy_info(proxy.cert) is not None
    assert proxy.dn.startswith("/DC=local/DC=pandatx/CN=pilot/CN=")
    left = proxy.cert.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(hours=95) < left <= timedelta(hours=96)


def test_the_server_can_use_its_certificates_and_trusts_its_ca(home):
    ServerTLS(load(home / "panda_server.cfg", {}).http).load()
    (ca,) = read_trust(home / "certificates").authorities
    assert ca == authority.x509.load_pem_x509_certificate((home / "ca.pem").read_bytes())
    (link,) = (home / "certificates").iterdir()
    assert link.stem == f"{crypto.X509.from_cryptography(ca).subject_name_hash():08x}"
    host = authority.x509.load_pem_x509_certificate((home / "hostcert.pem").read_bytes())
    alternatives = host.extensions.get_extension_for_class(authority.x509.SubjectAlternativeName).value
    assert "localhost" in alternatives.get_values_for_type(authority.x509.DNSName)
    assert host.public_key().curve.name == "secp256r1"


def test_openssl_verifies_the_proxy_as_the_pilots_tools_do(home):
    command = ["openssl", "verify", "-allow_proxy_certs", "-CApath", str(home / "certificates"), "-untrusted"]
    done = subprocess.run(
        [*command, str(home / "pilot.pem"), str(home / "pilot-proxy.pem")], capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("OK"), done.stderr


def test_the_queue_is_one_that_the_server_accepts(home):
    dump = load_dump((home / "queues.json").read_text())
    assert dump.faults == ()
    (queue,) = dump.queues
    assert (queue.name, queue.status, queue.endpoint_out, queue.endpoint_in) == (
        "LOCAL",
        "online",
        "LOCAL_DATA",
        "LOCAL_DATA",
    )
    assert queue.grandly_unified
    endpoint = json.loads((home / "ddmendpoints.json").read_text())["LOCAL_DATA"]
    assert endpoint["is_deterministic"]
    assert endpoint["arprotocols"]["write_lan"][0]["path"] == f"{home}/storage/"


def test_the_command_line_finds_address_ca_and_certificate(home):
    client = json.loads((home / "client.json").read_text())
    assert client["url"] == "https://localhost:31443"
    assert (home / client["ca"]).is_file()
    assert (home / client["certificate"]).is_file()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    done = pandatx("init", tmp_path)
    assert done.exit_code == 2
    assert "is not empty and was not made by pandatx init" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_time_everything_is_kept_but_the_pilots_proxy(tmp_path):
    folder = tmp_path / "server"
    pandatx("init", folder)
    (folder / "panda_server.cfg").write_text("; mine\n")
    (folder / "queues.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert pandatx("init", folder).exit_code == 0
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"pilot-proxy.pem"}
    assert (folder / "queues.json").exists()


def test_without_the_key_of_the_ca_what_is_there_goes_on_and_nothing_new_is_signed(tmp_path):
    folder = tmp_path / "server"
    pandatx("init", folder)
    (folder / "ca-key.pem").unlink()
    ca = (folder / "ca.pem").read_bytes()
    assert pandatx("init", folder).exit_code == 0
    assert (folder / "ca.pem").read_bytes() == ca
    (folder / "user.pem").unlink()
    done = pandatx("init", folder)
    assert done.exit_code == 4
    assert "user.pem is missing and cannot be made: ca-key.pem is not here" in done.output


@pytest.mark.parametrize("ports", [("--http-port", "0"), ("--https-port", "70000"), ("--https-port", "25080")])
def test_ports_that_cannot_be_are_a_usage_fault(tmp_path, ports):
    assert pandatx("init", tmp_path / "x", *ports).exit_code == 2
    assert not (tmp_path / "x").exists()


def transform(home, folder, *arguments):
    command = [sys.executable, str(home / "trf/user/runGen-00-00-02"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_transform_runs_any_shell_command_and_passes_its_exit_code_on(home, tmp_path):
    shell = """printf '%s\\n' "a 'b' $((1+1))" > "out file" && exit 7"""
    done = transform(home, tmp_path, "--exec", quote(shell))
    assert done.returncode == 7
    assert (tmp_path / "out file").read_text() == "a 'b' 2\n"
    assert transform(home, tmp_path, "-p", quote("kill -9 $$")).returncode == 137
    assert transform(home, tmp_path).returncode == 64


def test_the_transform_gives_files_the_names_that_the_job_promised(home, tmp_path):
    done = transform(home, tmp_path, "--exec", quote("echo x > a"), "-o", quote(json.dumps({"a": "user.b"})), "--debug")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["user.b"]


def test_a_proxy_is_written_beside_its_certificate(home, tmp_path):
    cert = tmp_path / "user.pem"
    cert.write_bytes((home / "user.pem").read_bytes())
    done = pandatx("proxy", cert, "--hours", 2)
    made = Path(done.output.strip())
    assert made == tmp_path / "user-proxy.pem"
    assert mode(made) == 0o600
    proxy = authority.load(made.read_bytes())
    assert proxy.cert.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=2)
    assert not proxies.is_limited(proxy.cert, proxies.proxy_info(proxy.cert))


def test_a_limited_proxy_is_limited_and_so_are_its_own(home, tmp_path):
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    assert pandatx("proxy", home / "user.pem", "--limited", "--out", first).exit_code == 0
    assert pandatx("proxy", first, "--out", second).exit_code == 0
    for file in (first, second):
        cert = authority.load(file.read_bytes()).cert
        assert proxies.is_limited(cert, proxies.proxy_info(cert))


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_what_is_no_certificate_can_have_no_proxy(tmp_path, content):
    file = tmp_path / "x.pem"
    if content is not None:
        file.write_bytes(content)
    done = pandatx("proxy", file)
    assert done.exit_code == 4
    assert str(file) in done.output
    assert "Traceback" not in done.output
