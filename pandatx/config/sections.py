"""The settings, one frozen class per part of the server, each key with its default and its meaning."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from pandatx.config import kinds
from pandatx.config.keys import ENVIRONMENT, Derived, setting
from pandatx.config.kinds import MIB, PluginEntry
from pandatx.config.limits import LimitSettings
from pandatx.config.messaging import MessagingSettings
from pandatx.config.outside import OutsideSettings

_LISTEN = "The server listens on this port; without it on that of {}, and without that on {}. 0 takes a free port."


def _same_as(section: str, name: str) -> Derived:
    return Derived(f"as [{section}] {name}", lambda value, environ: value(section, name))


@frozen(kw_only=True)
class Schemas:
    """The names of the database's schemas, in lower case as PostgreSQL folds them."""

    panda: str = setting("server.schemaPANDA", kinds.SCHEMA, "doma_panda", "Schema of the live tables and of JEDI's.")
    arch: str = setting("server.schemaPANDAARCH", kinds.SCHEMA, "doma_pandaarch", "Schema of the archive.")
    meta: str = setting("server.schemaMETA", kinds.SCHEMA, "doma_pandameta", "Schema of users and site data.")
    deft: str = setting("server.schemaDEFT", kinds.SCHEMA, "doma_deft", "Schema of the tables that DEFT reads.")
    own: str = "pandatx"


@frozen(kw_only=True)
class DatabaseSettings:
    """Where the database is, and how many connections it may cost. ``host`` None means the embedded one."""

    backend: str = setting(
        "server.backend", kinds.BACKEND, "postgres", "Kind of database. Only postgres; anything else is refused."
    )
    host: str | None = setting(
        "server.dbhost", kinds.TEXT, None, "Host of the database, or a folder with its socket. Unset: the embedded one."
    )
    port: int = setting("server.dbport", kinds.PORT, 5432, "Port of the database; 0 means 5432.")
    user: str = setting("server.dbuser", kinds.TEXT, "panda", "Role in the database.")
    password: str = setting(
        "server.dbpasswd",
        kinds.TEXT,
        "",
        "Password of that role; better ${PANDA_DB_PASSWORD} than in clear.",
        secret=True,
    )
    name: str = setting("server.dbname", kinds.TEXT, "panda_db", "Name of the database.")
    schemas: Schemas = attrs.field(factory=Schemas)
    pool: int = setting(
        "pandatx.db_pool", kinds.whole(1), 10, "Connections for requests; never fewer than nDBConnection."
    )
    pool_wanted: int = setting(
        "server.nDBConnection", kinds.whole(), 1, "Connections of the older server's pools; db_pool is at least this."
    )
    pool_scheduler: int = setting("pandatx.db_pool_scheduler", kinds.whole(1), 4, "Connections for the scheduler.")
    statement_timeout: float = setting(
        "pandatx.db_statement_timeout", kinds.SECONDS, 30.0, "Limit of one statement.", unit="s"
    )
    hot_statement_timeout: float = setting(
        "pandatx.db_hot_statement_timeout",
        kinds.SECONDS,
        10.0,
        "Limit of one statement of getJob and of heartbeats.",
        unit="s",
    )
    dbtimeout: float = setting(
        "server.dbtimeout", kinds.SECONDS, 60.0, "Limit of one database call of scripts and children.", unit="s"
    )


@frozen(kw_only=True)
class HttpSettings(LimitSettings):
    """Where the server listens, with which limits, and what its URLs say."""

    http_port: int = setting(
        f"{ENVIRONMENT}.PANDA_SERVER_CONF_PORT",
        kinds.PORT,
        _same_as("server", "pserverporthttp"),
        _LISTEN.format("pserverporthttp", 25080),
    )
    https_port: int = setting(
        f"{ENVIRONMENT}.PANDA_SERVER_CONF_PORT_SSL",
        kinds.PORT,
        _same_as("server", "pserverport"),
        _LISTEN.format("pserverport", 25443),
    )
    cache_port: int | None = setting(
        "pandatx.cache_port",
        kinds.PORT,
        None,
        "Port of the cache listener, for a squid in front; unset: /cache/ on the two main ports only.",
    )
    host_cert: Path = setting(
        "pandatx.host_cert", kinds.PATH, Path("/etc/grid-security/hostcert.pem"), "Certificate of this host, PEM."
    )
    host_key: Path = setting(
        "pandatx.host_key", kinds.PATH, Path("/etc/grid-security/hostkey.pem"), "Private key of this host, PEM, 0600."
    )
    ca_dir: Path = setting(
        "pandatx.ca_dir",
        kinds.PATH,
        Derived(
            "X509_CERT_DIR, else /etc/grid-security/certificates",
            lambda value, environ: Path(environ.get("X509_CERT_DIR") or "/etc/grid-security/certificates"),
        ),
        "Folder of CA certificates and CRLs that client certificates are checked with; a file with CAs will do.",
    )
    vomsdir: Path = setting(
        "pandatx.vomsdir",
        kinds.PATH,
        Derived(
            "X509_VOMS_DIR, else /etc/grid-security/vomsdir",
            lambda value, environ: Path(environ.get("X509_VOMS_DIR") or "/etc/grid-security/vomsdir"),
        ),
        "Folder of VO/HOST.lsc files that VOMS attributes are checked with.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "pandatx.trusted_proxies",
        kinds.NETWORKS,
        (),
        "Peers whose X-Forwarded-* are believed, and from which tokens are taken on the plain port.",
    )
    server_name: str | None = setting(
        f"{ENVIRONMENT}.PANDA_SERVER_CONF_SERVERNAME", kinds.TEXT, None, "Name of this host where pserverhost is unset."
    )
    url_host: str = setting(
        "server.pserverhost",
        kinds.TEXT,
        Derived(
            "PANDA_SERVER_CONF_SERVERNAME, else this host's full name",
            lambda value, environ: value(ENVIRONMENT, "PANDA_SERVER_CONF_SERVERNAME") or socket.getfqdn(),
        ),
        "Host that URLs of this server name; a balancer's, perhaps.",
    )
    url_host_http: str = setting(
        "server.pserverhosthttp", kinds.TEXT, _same_as("server", "pserverhost"), "The same for plain HTTP."
    )
    url_http_port: int = setting("server.pserverporthttp", kinds.PORT, 25080, "Port that plain HTTP URLs name.")
    url_https_port: int = setting("server.pserverport", kinds.PORT, 25443, "Port that HTTPS URLs name.")
    url_cache_port: int = setting("server.pserverportcache", kinds.PORT, 25085, "Port that URLs of the cache name.")


@frozen(kw_only=True)
class IdentitySettings:
    """Who may do what."""

    production_dns: tuple[str, ...] = setting(
        "server.production_dns",
        kinds.LIST,
        (),
        "Holders of the production role: a whole compact name, a whole DN, or a run of whole RDNs.",
    )
    pilot_owners: tuple[str, ...] = setting(
        "server.pilot_owners", kinds.LIST, (), "Holders of the pilot role, in the same form."
    )
    loose_dn_match: bool = setting(
        "pandatx.loose_dn_match",
        kinds.YES_NO,
        False,
        "Match production_dns and pilot_owners as older servers do, anywhere in the DN: short ones match too much.",
    )
    voms_sha1: bool = setting(
        "pandatx.voms_sha1",
        kinds.YES_NO,
        False,
        "Believe VOMS attributes that are signed with SHA-1, too, as old VOMS servers do.",
    )
    vo_members_are_pilots: tuple[str, ...] = setting(
        "pandatx.vo_members_are_pilots", kinds.LIST, (), "VOs of which every member holds the pilot role."
    )
    token_auth_type: str = setting(
        "server.token_authType",
        kinds.choice("x509", "oidc"),
        "x509",
        "oidc: bearer tokens are taken beside certificates; x509: certificates only.",
    )
    auth_dir: Path = setting(
        "server.auth_config",
        kinds.PATH,
        Path("/opt/panda/etc/panda/auth"),
        "Folder of the VOs' *_auth_config.json, served as /auth/ without secrets.",
    )
    auth_policies: Path | None = setting(
        "server.auth_policies",
        kinds.PATH,
        None,
        "The older file of policies, VO to [[group, {role, group}], ...]; unset: they follow from the files' names.",
    )
    legacy_token_issuers: tuple[str, ...] = setting(
        "server.legacy_token_issuers",
        kinds.LIST,
        (),
        "Further names that tokens may give their issuer. The older server has two of ATLAS when this key is absent.",
    )
    token_algorithms: tuple[str, ...] = setting(
        "pandatx.token_algorithms", kinds.SIGNATURES, ("RS256",), "What tokens may be signed by."
    )
    token_audiences: tuple[str, ...] = setting(
        "pandatx.token_audiences",
        kinds.LIST,
        (),
        "Audiences of tokens that are taken beside the ids and the audience of each *_auth_config.json.",
    )
    plain_token_issuers: tuple[str, ...] = setting(
        "pandatx.plain_token_issuers",
        kinds.LIST,
        (),
        "Hosts of token issuers that are asked over plain HTTP, too; else only loopback ones are.",
    )


@frozen(kw_only=True)
class FileSettings:
    """The folders."""

    logdir: Path = setting("server.logdir", kinds.PATH, Path("/var/log/panda"), "Folder of what the server writes.")
    cache_dir: Path = setting(
        "server.cache_dir", kinds.PATH, Path("/var/log/panda/pandacache"), "Sandboxes and logs, served as /cache/."
    )
    schedconfig_cache_dir: Path = setting(
        "server.schedconfig_cache_dir",
        kinds.PATH,
        Path("/var/cache/pandaserver/schedconfig"),
        "One QUEUE.all.json per queue, served as /cache/schedconfig/.",
    )
    sandbox_host: str | None = setting(
        "server.sandboxHostname",
        kinds.TEXT,
        None,
        "Host that clients are told to find the sandboxes of this server at, in its certificate; unset: its full name.",
    )
    record_sandbox_info: bool = setting(
        "server.record_sandbox_info", kinds.YES_NO, True, "Note in the database which sandbox lies where."
    )
    compress_file_names: tuple[str, ...] = setting(
        "server.compress_file_names", kinds.PATTERNS, (), "Files with such names are kept as gzip files."
    )
    trf_dir: Path = setting("pandatx.trf_dir", kinds.PATH, Path("/var/trf"), "Transforms, served as /trf/.")
    cric_dir: Path = setting("pandatx.cric_dir", kinds.PATH, Path("/var/cric"), "Site inputs, served as /cric/.")


@frozen(kw_only=True)
class JobSettings:
    """What happens to jobs. The spool's limits are bytes."""

    adder_plugins: tuple[PluginEntry, ...] = setting(
        "server.adder_plugins", kinds.PLUGINS, (), "Adder plugin per VO: items VO(|VO2):module:class(:group)."
    )
    setupper_plugins: tuple[PluginEntry, ...] = setting(
        "server.setupper_plugins", kinds.PLUGINS, (), "Setupper plugin per VO, in the same form."
    )
    storage: dict[str, str] = setting(
        "pandatx.storage", kinds.STORAGE, {}, "Folder of each RSE that this server can reach, as JSON: RSE to folder."
    )
    spool_report_limit: int = setting(
        "pandatx.spool_report_limit",
        kinds.whole(1, scale=MIB),
        10 * MIB,
        "Largest final report that is spooled while the database is away.",
        unit="MiB",
    )
    spool_total_limit: int = setting(
        "pandatx.spool_total_limit", kinds.whole(1, scale=MIB), 2048 * MIB, "Size of the whole spool.", unit="MiB"
    )
    archive: bool = setting(
        "pandatx.archive",
        kinds.YES_NO,
        False,
        "Let the archiver move old jobs of a found database; one that pandatx made is archived anyway.",
    )
    archive_after: int = setting(
        "pandatx.archive_after",
        kinds.whole(1),
        3,
        "Age from its end at which a job is moved to the archive's schema.",
        unit="days",
    )
    retention: dict[str, int] = setting(
        "pandatx.retention",
        kinds.RETENTION,
        {},
        "How long rows are kept, as JSON: table to days. Those of other tables are kept for ever.",
        unit="days",
    )
    nrun_interval: int = setting(
        "server.nrun_interval", kinds.whole(1), 5, "Minutes of an hour in which one server counts running jobs."
    )
    nrun_hosts: int = setting("server.nrun_hosts", kinds.whole(1), 3, "How many servers take turns in that.")
    nrun_snum: int = setting(
        "server.nrun_snum", kinds.whole(), 999, "Which of them this one is, from 0 on; 999: it counts none."
    )
    cric_url_schedconfig: str | None = setting(
        "server.CRIC_URL_SCHEDCONFIG",
        kinds.URL,
        None,
        "Where descriptions of queues come from: https://, file:// or path.",
    )


@frozen(kw_only=True)
class DaemonEntry:
    """One timed script. ``period`` and ``timeout`` in seconds; ``arguments`` are passed on unchanged."""

    name: str
    module: str
    period: int
    timeout: int
    sync: bool = False
    loop: bool = False
    arguments: tuple[Any, ...] = ()


@frozen(kw_only=True)
class LeftOut:
    """A daemon whose entry cannot be read, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"daemon {self.name} is left out: {self.why}"


@frozen(kw_only=True)
class DaemonSettings:
    """The PanDA daemon. ``disabled``: names with ``"enable": false``. ``faults``: what was left out, and why."""

    enable: bool = setting("daemon.enable", kinds.YES_NO, False, "Run the daemons of ``config``. Our own run anyway.")
    uname: str = setting(
        "daemon.uname", kinds.TEXT, "nobody", "User of children, where the server is root without user."
    )
    gname: str = setting("daemon.gname", kinds.TEXT, "nobody", "Group of children, likewise.")
    package: str = setting(
        "daemon.package", kinds.TEXT, "pandaserver.daemons.scripts", "Package of the modules that are not ours."
    )
    n_proc: int = setting("daemon.n_proc", kinds.whole(1, 1024), 1, "Children of the process pool.")
    n_dbconn: int = setting("daemon.n_dbconn", kinds.whole(0, 1024), 1, "Database connections of one child.")
    proc_lifetime: int = setting(
        "daemon.proc_lifetime", kinds.whole(1), 28800, "Age at which a child is replaced.", unit="s"
    )
    document: dict[str, Any] = setting(
        "daemon.config",
        kinds.JSON,
        {},
        "The daemons, as JSON: name to enable, period, timeout, sync, loop, module, arguments.",
    )
    entries: tuple[DaemonEntry, ...] = ()
    disabled: tuple[str, ...] = ()
    faults: tuple[LeftOut, ...] = ()


@frozen(kw_only=True)
class OpsSettings:
    """What operators look through."""

    metrics_address: tuple[str, int] = setting(
        "pandatx.metrics_address",
        kinds.ADDRESS,
        ("127.0.0.1", 25090),
        "Where /metrics and details of health are served.",
    )
    manhole_port: int | None = setting(
        "pandatx.manhole_port", kinds.PORT, None, "Port of the SSH manhole on localhost; unset: no manhole."
    )
    manhole_keys: Path | None = setting(
        "pandatx.manhole_keys", kinds.PATH, None, "authorized_keys of the manhole; unset: no manhole."
    )
    manhole_as_root: bool = setting(
        "pandatx.manhole_as_root", kinds.YES_NO, False, "Open the manhole even if the server runs as root."
    )
    log_dir: Path = setting(
        "logger.logdir", kinds.PATH, _same_as("server", "logdir"), "Folder of the log files, one per part."
    )
    log_level: str = setting(
        "logger.log_level",
        kinds.LOG_LEVEL,
        "info",
        "What is logged at least.",
    )


@frozen(kw_only=True)
class ProcessSettings:
    """The server's processes. ``user`` None: it stays the user that starts it."""

    state_dir: Path = setting(
        "pandatx.state_dir",
        kinds.PATH,
        Path("/var/lib/pandatx/server"),
        "What the server keeps: locks, spool, the embedded database. 0700; it is what makes a server this server.",
    )
    user: str | None = setting("pandatx.user", kinds.TEXT, None, "Become this user once ports are bound and keys read.")
    group: str | None = setting("pandatx.group", kinds.TEXT, None, "And this group; unset: the user's own.")
    roles: frozenset[str] = setting(
        "pandatx.roles", kinds.ROLES, frozenset({"http", "daemon"}), "What this process does; --roles wins."
    )
    child_memory_limit: int = setting(
        "pandatx.child_memory_limit",
        kinds.whole(64),
        1024,
        "Resident memory, with all that it has started, above which a child of the process pool is killed in its call; "
        "above half of it, it is replaced after its call.",
        unit="MB",
    )


SETTINGS: dict[str, type[Any]] = {
    "database": DatabaseSettings,
    "http": HttpSettings,
    "identity": IdentitySettings,
    "files": FileSettings,
    "jobs": JobSettings,
    "daemon": DaemonSettings,
    "ops": OpsSettings,
    "process": ProcessSettings,
    "outside": OutsideSettings,
    "messaging": MessagingSettings,
}
"""The classes that ``load`` fills, by the name of their field in Config."""
