"""What the values mean together, what is warned of, and what is never shown."""

from pathlib import Path

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError

from pandatx.config import Config, ConfigurationFaults, connections_of, declared, load, roles_of

HOST = {"PANDA_SERVER_CONF_SERVERNAME": "panda.example.org"}


@pytest.fixture
def loaded(tmp_path: Path):
    def load_text(text: str, **environ: str) -> Config:
        path = tmp_path / "panda_server.cfg"
        path.write_text(text)
        return load(path, HOST | environ)

    return load_text


def test_the_server_listens_where_the_environment_says_and_its_urls_name_the_ports_of_the_file(loaded):
    text = "[server]\npserverporthttp = 80\npserverport = 443\n"
    here, moved = loaded(text).http, loaded(text, PANDA_SERVER_CONF_PORT="81", PANDA_SERVER_CONF_PORT_SSL="444").http
    assert (here.http_port, here.https_port, here.url_http_port, here.url_https_port) == (80, 443, 80, 443)
    assert (moved.http_port, moved.https_port, moved.url_http_port, moved.url_https_port) == (81, 444, 80, 443)


def test_max_workers_limits_the_connections(loaded):
    assert loaded("", PANDA_SERVER_CONF_MAX_WORKERS="512").http.max_connections == 512


def test_pserverhost_wins_over_the_servers_name(loaded):
    assert loaded("[server]\npserverhost = balancer\n").http.url_host == "balancer"


def test_the_pool_has_at_least_the_connections_of_the_older_key(loaded):
    config = loaded("[server]\nnDBConnection = 24\n")
    assert config.database.pool == 24
    assert config.origins["[pandatx] db_pool"].where.startswith("raised to nDBConnection, ")
    assert loaded("[server]\nnDBConnection = 24\n[pandatx]\ndb_pool = 30\n").database.pool == 30


def test_port_0_means_the_usual_port_of_the_database(loaded):
    assert loaded("[server]\ndbport = 0\n").database.port == 5432


def test_schemas_are_folded_as_postgresql_folds_them(loaded):
    assert loaded("[server]\nschemaPANDA = DOMA_PANDA\n").database.schemas.panda == "doma_panda"


def test_folders_of_certificates_come_from_the_environment_unless_named(loaded):
    assert loaded("", X509_CERT_DIR="/cas").http.ca_dir == Path("/cas")
    assert loaded("[pandatx]\nca_dir = /mine\n", X509_CERT_DIR="/cas").http.ca_dir == Path("/mine")
    assert loaded("").http.ca_dir == Path("/etc/grid-security/certificates")


def test_limits_of_the_spool_are_given_in_mebibytes(loaded):
    jobs = loaded("[pandatx]\nspool_report_limit = 3\n").jobs
    assert (jobs.spool_report_limit, jobs.spool_total_limit) == (3 * 2**20, 2 * 2**30)


def test_lists_lose_blanks_and_empty_items(loaded):
    config = loaded("[server]\nproduction_dns = /DC=ch/CN=One ,, two\n[pandatx]\ntrusted_proxies = 10.0.0.0/8, ::1\n")
    assert config.identity.production_dns == ("/DC=ch/CN=One", "two")
    assert config.http.trusted_proxies == ("10.0.0.0/8", "::1")


def test_storage_spans_lines(loaded):
    config = loaded('[pandatx]\nstorage = {\n    "RSE_A": "/data/a",\n\n    "RSE_B": "/data/b"\n    }\n')
    assert config.jobs.storage == {"RSE_A": "/data/a", "RSE_B": "/data/b"}


def test_an_unknown_key_is_named_with_the_key_that_may_be_meant(loaded, tmp_path):
    (warning,) = loaded("[server]\ndbhots = db\n").warnings
    assert warning == (
        f'{tmp_path}/panda_server.cfg:2: [server] dbhots is not known; nothing reads it; did you mean "dbhost"?'
    )


def test_keys_of_the_older_server_are_named_in_one_gentle_warning_per_section(loaded, tmp_path):
    config = loaded("[server]\nuseJEDI = 999\nei_x = 1\n[mcp]\ntransport = http\n", PANDA_SERVER_CONF_NUM_WSGI="32")
    at = f"{tmp_path}/panda_server.cfg"
    assert config.warnings == (
        f"[server]: the older server's, not used here, no harm: useJEDI ({at}:2), ei_x ({at}:3)",
        f"[mcp]: the older server's, not used here, no harm: transport ({at}:5)",
        "environment: the older server's, not used here, no harm: PANDA_SERVER_CONF_NUM_WSGI",
    )


def test_a_manhole_without_keys_is_warned_of(loaded):
    assert loaded("[pandatx]\nmanhole_port = 25022\n").warnings == (
        "[pandatx] manhole_port is set but manhole_keys is not: there will be no manhole",
    )


def test_no_password_is_ever_shown(loaded):
    config = loaded(
        "[server]\ndbpasswd = hush1\nCRIC_URL_SCHEDCONFIG = https://me:hush2@cric.example.org/x\nemailPass = hush3\n"
    )
    assert (config.database.password, config.origins["[server] dbpasswd"].value) == ("hush1", "********")
    assert config.jobs.cric_url_schedconfig == "https://me:hush2@cric.example.org/x"
    assert config.origins["[server] CRIC_URL_SCHEDCONFIG"].value == "https://***@cric.example.org/x"
    assert "hush" not in repr(config) + repr(config.origins) + repr(config.warnings)


def test_every_declared_key_has_a_default_and_an_origin(loaded):
    config = loaded("")
    assert {str(key) for key in declared()} == set(config.origins)
    assert all(origin.where.startswith(("default", "environment")) for origin in config.origins.values())


def test_settings_do_not_change(loaded):
    with pytest.raises(FrozenInstanceError):
        loaded("").database.host = "other"


def test_connections_are_summed_over_pools_and_children(loaded):
    needed = connections_of(loaded("[daemon]\nn_proc = 4\nn_dbconn = 2\n"))
    assert (needed.requests, needed.scheduler, needed.children, needed.total) == (10, 4, 8, 22)
    assert needed.too_many_for(24) and not needed.too_many_for(25)


def test_a_test_gets_a_configuration_of_its_own(tmp_path):
    config = Config.for_tests(tmp_path, http={"https_port": 7}, database={"pool": 2})
    assert (config.http.http_port, config.http.https_port, config.database.pool) == (0, 7, 2)
    assert config.files.logdir.is_relative_to(tmp_path) and config.process.state_dir == tmp_path
    assert evolve(config, warnings=("x",)).warnings == ("x",)


def test_roles_are_http_and_daemon_and_nothing_else():
    assert roles_of("HTTP , daemon") == {"http", "daemon"}
    with pytest.raises(ValueError, match='"king" is not a list of the roles http and daemon'):
        roles_of("king")


def test_keys_that_nothing_uses_are_not_declared_but_named_as_the_older_servers(loaded):
    (warning,) = loaded("[server]\ndef_sitename = X\nrecord_statuschange = False\ndisableHTTP = True\n").warnings
    assert "not used here, no harm: def_sitename" in warning and "record_statuschange" in warning


def test_tokens_are_taken_where_the_file_says_so_signed_by_what_it_lists(loaded):
    assert loaded("").identity.token_auth_type == "x509"
    identity = loaded("[server]\ntoken_authType = OIDC\n[pandatx]\ntoken_algorithms = RS256, ES256\n").identity
    assert (identity.token_auth_type, identity.token_algorithms) == ("oidc", ("RS256", "ES256"))


def test_neither_scitokens_nor_shared_secrets_are_spoken(loaded):
    for text, fault in (
        ("[server]\ntoken_authType = scitokens\n", '"scitokens" is not one of x509, oidc'),
        ("[pandatx]\ntoken_algorithms = HS256\n", '"HS256" is not one of RS256'),
        ("[pandatx]\ntoken_algorithms = none\n", '"none" is not one of RS256'),
    ):
        with pytest.raises(ConfigurationFaults, match=fault):
            loaded(text)


def test_a_broker_without_a_destination_is_warned_of_and_its_password_is_never_shown(loaded):
    text = "[pandatx]\nmessages_host = broker\nmessages_password = very-secret\n"
    config = loaded(text)
    assert "messages_destination is not" in "".join(config.warnings)
    assert "very-secret" not in repr(config) and config.messaging.password == "very-secret"
    assert config.origins["[pandatx] messages_password"].value == "********"
