"""Where configuration is found and how a file is read."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.config import Config, ConfigurationFaults, load
from pandatx.config.reader import search_order


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, name: str = "panda_server.cfg") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def faults_of(path: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationFaults) as raised:
        load(path, environ)
    return raised.value.faults


def test_an_empty_file_means_the_defaults(written):
    config = load(written(""), {"PANDA_SERVER_CONF_SERVERNAME": "panda.example.org"})
    assert (config.http.http_port, config.http.https_port, config.http.cache_port) == (25080, 25443, None)
    assert (config.http.url_host, config.http.url_host_http) == ("panda.example.org", "panda.example.org")
    assert config.database.host is None
    assert (config.database.pool, config.database.pool_scheduler) == (10, 4)
    assert config.identity.token_auth_type == "x509"
    assert config.process.roles == {"http", "daemon"}
    assert config.ops.metrics_address == ("127.0.0.1", 25090)
    assert config.daemon.entries == ()
    assert config.warnings == ()


def test_the_file_of_config_is_read_alone_with_the_common_file_beside_it(written, tmp_path):
    home = tmp_path / "home" / "etc" / "panda" / "panda_server.cfg"
    written("[server]\ndbname = elsewhere\n", str(home.relative_to(tmp_path)))
    written("[logger]\nlog_level = DEBUG\n", "panda_common.cfg")
    config = load(written("[server]\ndbuser = me\n"), {"HOME": str(tmp_path / "home")})
    assert (config.database.name, config.database.user, config.ops.log_level) == ("panda_db", "me", "debug")


def test_without_config_later_places_override_keys_of_earlier_ones(written, tmp_path):
    written("[server]\ndbname = user\ndbuser = user\n", "home/etc/panda/panda_server.cfg")
    written("[server]\ndbname = panda\n", "panda/etc/panda/panda_server.cfg")
    written("[logger]\nlogdir = /logs\n", "panda/usr/etc/panda/panda_common.cfg")
    config = load(None, {"HOME": str(tmp_path / "home"), "PANDA_HOME": str(tmp_path / "panda")})
    assert (config.database.name, config.database.user) == ("panda", "user")
    assert config.ops.log_dir == Path("/logs")
    assert config.origins["[server] dbname"].where == f"{tmp_path}/panda/etc/panda/panda_server.cfg:2"


def test_the_search_order_is_the_older_servers():
    assert [str(path) for path in search_order("x.cfg", {"HOME": "/h", "PANDA_HOME": "/p"})] == [
        "/etc/panda/x.cfg",
        "/usr/etc/panda/x.cfg",
        "/h/etc/panda/x.cfg",
        "/p/etc/panda/x.cfg",
        "/p/usr/etc/panda/x.cfg",
    ]


def test_a_start_without_any_file_is_warned_of(tmp_path):
    (warning,) = load(None, {"HOME": str(tmp_path)}).warnings
    assert warning.startswith("no panda_server.cfg found, defaults hold; looked for /etc/panda/panda_server.cfg, ")


def test_the_json_that_helm_mounts_overrides_the_file_where_panda_home_is_set(written, tmp_path):
    document = {
        "server": {"dbname": "helm", "dbport": 5433, "dbpasswd": "${SECRET}", "nDBConnection": 12},
        "daemon": {"enable": True, "config": {"add_main": {"period": 10}}},
        "mcp": {"transport": "sse"},
    }
    written(json.dumps(document, indent=1), "home/etc/config_json/panda_server_config.json")
    path = written("[server]\ndbname = file\ndbuser = file\n")
    config = load(path, {"PANDA_HOME": str(tmp_path / "home"), "SECRET": "hush"})
    assert (config.database.name, config.database.user, config.database.port) == ("helm", "file", 5433)
    assert config.database.password == "hush"
    assert config.database.pool_wanted == 12
    assert [entry.name for entry in config.daemon.entries] == ["add_main"]
    assert config.origins["[server] dbport"].where.endswith("panda_server_config.json:4")
    assert load(path, {}).database.name == "file"


def test_the_daemon_config_in_json_may_be_a_text_with_json(written, tmp_path):
    document = {"daemon": {"config": '{"add_main": {"period": 10}}'}}
    written(json.dumps(document), "home/etc/config_json/panda_server_config.json")
    config = load(written(""), {"PANDA_HOME": str(tmp_path / "home")})
    assert [entry.name for entry in config.daemon.entries] == ["add_main"]


def test_the_guides_daemon_section_is_read_without_fault():
    path = Path(__file__).with_name("daemon_example.cfg")
    config = load(path, {})
    by_name = {entry.name: entry for entry in config.daemon.entries}
    assert (config.daemon.faults, config.warnings, len(by_name)) == ((), (), 17)
    assert (config.daemon.enable, config.daemon.n_proc, config.daemon.proc_lifetime) == (True, 4, 14400)
    assert (config.daemon.uname, config.daemon.gname) == ("atlpan", "zp")
    assert [by_name[name].timeout for name in ("dummy_test", "add_main", "copyArchive")] == [300, 720, 6000]
    assert by_name["add_main"].loop and by_name["copyArchive"].sync
    assert (by_name["proxyCache"].module, by_name["add_sub"].module) == ("panda_activeusers_query", "add_sub")
    assert by_name["network_configurator"].arguments == ("--network",)
    assert config.origins["[daemon] config"] == ("17 entries", f"{path}:10")


def test_keys_keep_their_case_and_a_percent_sign_is_only_that(written):
    config = load(written("[server]\nDBNAME = wrong\ndbname = right\ndbpasswd = 100%(x)s\n"), {})
    assert (config.database.name, config.database.password) == ("right", "100%(x)s")
    assert "[server] DBNAME is not known" in config.warnings[0]


def test_a_value_that_names_a_variable_is_taken_from_the_environment(written):
    path = written("[server]\ndbhost = $DB\ndbpasswd = ${DB_PASSWORD}\ndbname = a$DB\n")
    config = load(path, {"DB": "db.example.org", "DB_PASSWORD": "0012"})
    assert (config.database.host, config.database.password, config.database.name) == ("db.example.org", "0012", "a$DB")
    assert config.origins["[server] dbhost"] == ("db.example.org", f"{path}:2, $DB")


def test_none_and_nothing_mean_the_default(written):
    config = load(written("[server]\ntoken_authType = None\ndbport =\n[pandatx]\ncache_port = None\n"), {})
    assert (config.identity.token_auth_type, config.database.port, config.http.cache_port) == ("x509", 5432, None)


def test_a_relative_path_starts_at_the_folder_of_the_file(written, tmp_path):
    config = load(written("[pandatx]\nstate_dir = state\nhost_cert = /abs.pem\n"), {})
    assert (config.process.state_dir, config.http.host_cert) == (tmp_path / "state", Path("/abs.pem"))


def test_all_faults_are_told_at_once_each_with_its_place(written):
    path = written(
        "[server]\nbackend = oracle\ndbport = many\ndbhost = ${NO_SUCH}\ndbpasswd = $ecret\n"
        "setupper_plugins = wlcg:mod:Class, atlas|ops:broken\n[pandatx]\nmetrics_address = here\nroles = http,king\n"
    )
    assert set(faults_of(path, PANDA_SERVER_CONF_PORT="99999")) == {
        f'{path}:2: [server] backend: "oracle" is not supported: pandatx keeps everything in PostgreSQL;'
        ' set "backend = postgres" with a PostgreSQL database, or leave the key out',
        f'{path}:3: [server] dbport: "many" is not a whole number',
        f"{path}:4: [server] dbhost: the environment has no NO_SUCH",
        f"{path}:5: [server] dbpasswd: the environment has no variable of the name that it gives",
        f'{path}:6: [server] setupper_plugins: VO atlas|ops: "atlas|ops:broken" is not of the form'
        " VO(|VO2):module:class(:group)",
        f'{path}:8: [pandatx] metrics_address: "here" is not an address in the form host:port',
        f'{path}:9: [pandatx] roles: "http,king" is not a list of the roles http and daemon',
        "environment PANDA_SERVER_CONF_PORT: 99999 is not between 0 and 65535",
    }


def test_faults_stop_a_start_with_exit_code_3_and_a_line_each(written):
    with pytest.raises(ConfigurationFaults) as raised:
        load(written("[server]\ndbport = x\ndbtimeout = y\n"), {})
    assert raised.value.exit_code == 3
    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["bad configuration"] * 2


def test_faults_of_a_files_form_come_with_those_of_its_values(written):
    path = written("[server]\ndbport = x\nno value here\ndbname = a\ndbname = b\n")
    assert faults_of(path) == (
        f"{path}:5: [server] dbname stands in line 4 already",
        f"{path}:3: neither [section] nor key = value; lines of the value above must be indented",
        f'{path}:2: [server] dbport: "x" is not a whole number',
    )


def test_a_key_before_the_first_section_is_a_fault(written):
    path = written("dbname = a\n")
    assert faults_of(path) == (f"{path}:1: stands before the first [section]",)


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    path = tmp_path / "none.cfg"
    assert faults_of(path) == (f"{path}: cannot be read: No such file or directory",)
    path.write_bytes(b"[server]\ndbname = \xff\n")
    assert faults_of(path) == (f"{path}: not UTF-8 at byte 18",)


def test_one_port_for_two_listeners_is_a_fault(written):
    path = written("[server]\npserverport = 25080\n[pandatx]\ncache_port = 81\n")
    assert faults_of(path) == (
        f"port 25080 is wanted twice, by [server] pserverporthttp (default) and by [server] pserverport ({path}:2)",
    )
    assert faults_of(path, PANDA_SERVER_CONF_PORT="81", PANDA_SERVER_CONF_PORT_SSL="82") == (
        "port 81 is wanted twice, by PANDA_SERVER_CONF_PORT (environment PANDA_SERVER_CONF_PORT)"
        f" and by [pandatx] cache_port ({path}:4)",
    )


def test_a_daemon_config_that_is_not_json_is_a_fault_of_the_whole(written):
    path = written('[daemon]\nconfig = {\n    "add_main": {"period": 10},\n    }\n')
    (fault,) = faults_of(path)
    assert fault.startswith(f"{path}:2: [daemon] config: not JSON: ")
    assert fault.endswith("in line 3 of the value, near '}'")


def test_plugins_are_parsed_to_vos_target_and_group(written):
    config = load(written("[server]\nadder_plugins = a|b:mod.sub:Class, any:m:C:cloud\n"), {})
    assert config.jobs.adder_plugins == ((("a", "b"), "mod.sub:Class", None), (("any",), "m:C", "cloud"))


@given(st.text(alphabet=st.sampled_from(list('[]server daemon\nconfig={}:"$#;%\t0dbportNone,'))))
def test_no_text_raises_anything_but_faults(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.cfg"
    path.write_text(text)
    try:
        assert isinstance(load(path, {"PANDA_SERVER_CONF_SERVERNAME": "here"}), Config)
    except ConfigurationFaults as faults:
        assert all(fault.startswith((str(path), "port ")) for fault in faults.faults)
