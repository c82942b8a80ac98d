"""Settings of what is asked of services outside: CRIC and its like, token issuers, proxies, and what pilots fetch."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from pandatx.config import kinds
from pandatx.config.keys import ENVIRONMENT, Derived, setting

_PILOTS = ("pilot2.tar.gz", "pilot3.tar.gz")
_DUMP = "https://, file:// or path; unset: nothing of it is done."


@frozen(kw_only=True)
class OutsideSettings:
    """Where knowledge comes from that this server does not make itself; None: from nowhere."""

    cric_url_sites: str | None = setting(
        "server.CRIC_URL_SITES", kinds.URL, None, f"Sites, for the daemon configurator: {_DUMP}"
    )
    cric_url_endpoints: str | None = setting(
        "server.CRIC_URL_DDMENDPOINTS", kinds.URL, None, f"Storage endpoints, for the daemon configurator: {_DUMP}"
    )
    cric_url_no_write: str | None = setting(
        "server.CRIC_URL_DDMBLACKLIST", kinds.URL, None, "Endpoints that must not be written to; unset: not known."
    )
    cric_url_no_read: str | None = setting(
        "server.CRIC_URL_DDMBLACKLIST_READ", kinds.URL, None, "Endpoints that must not be read; unset: not known."
    )
    cric_url_exclusions: str | None = setting(
        "server.CRIC_URL_DDMBLACKLIST_FULL", kinds.URL, None, "Exclusions of endpoints by activity; unset: not known."
    )
    rse_usage_url: str | None = setting(
        "server.RUCIO_RSE_USAGE", kinds.URL, None, "Space used and free per endpoint; unset: not known."
    )
    cric_url_tags: str | None = setting(
        "server.CRIC_URL_TAGS", kinds.URL, None, f"Software tags per queue, for configurator --sw_tags: {_DUMP}"
    )
    cric_url_closeness: str | None = setting(
        "server.CRIC_URL_CM", kinds.URL, None, f"Cost matrix of sites, for configurator --network: {_DUMP}"
    )
    nws_url: str | None = setting(
        "server.NWS_URL", kinds.URL, None, f"Transfer rates between sites, for configurator --network: {_DUMP}"
    )
    use_certificate: bool = setting(
        "server.configurator_use_cert",
        kinds.YES_NO,
        True,
        "Show X509_USER_PROXY, where it is set, to those services, and to servers that are asked for their files.",
    )
    certificate: Path | None = setting(
        f"{ENVIRONMENT}.X509_USER_PROXY", kinds.PATH, None, "Certificate, key and chain to come with to other services."
    )
    token_cache_config: Path = setting(
        "server.token_cache_config",
        kinds.PATH,
        Path("/opt/panda/etc/panda/token_cache_config.json"),
        "Clients whose access tokens panda_activeusers_query keeps fresh, as JSON; no such file: none.",
    )
    credentials_dir: Path = setting(
        "pandatx.credentials_dir",
        kinds.PATH,
        Derived(
            "the folder credentials of state_dir", lambda value, environ: value("pandatx", "state_dir") / "credentials"
        ),
        "Folder of the tokens and proxies that are kept for users; 0700, its files 0600.",
    )
    key_dir: Path = setting(
        "server.keyDir",
        kinds.PATH,
        Path("/var/keys"),
        "Key pairs that users with the letter k in USERS.GRIDPREF may have, by file name; private ones not for others.",
    )
    pilot_secrets: str = setting(
        "server.pilot_secrets",
        kinds.TEXT,
        "pilot secrets",
        "Owner, in the table of secrets, of those that pilots of jobs in debug mode are given.",
    )
    proxy_plugin: str | None = setting(
        "pandatx.proxy_plugin",
        kinds.TEXT,
        None,
        "module:Class that fetches users' proxies, as pandatx.plugins.proxies:MyProxy; unset: none are kept.",
    )
    myproxy_server: str | None = setting(
        "pandatx.myproxy_server", kinds.TEXT, None, "Host of the MyProxy server, for the plugin MyProxy."
    )
    proxy_roles: tuple[str, ...] = setting(
        "server.proxy_cache_roles",
        kinds.LIST,
        (),
        "VOMS roles of the proxies kept, as atlas:/atlas/Role=pilot; empty: one proxy without attributes.",
    )
    co2_url: str | None = setting(
        "pandatx.co2_url",
        kinds.URL,
        "https://monit-grafana.cern.ch/api/datasources/proxy/10349/_msearch",
        "Where the daemon carbon asks for the emissions of regions.",
    )
    co2_token: str | None = setting(
        "server.CO2_BEARER_TOKEN",
        kinds.TEXT,
        None,
        "Token for the service at co2_url; unset: it is not asked.",
        secret=True,
    )
    pilot_cache_dir: Path = setting(
        "server.pilot_cache_dir", kinds.PATH, Path("/var/cache/pandaserver/pilot"), "Where cache_pilots puts tarballs."
    )
    pilot_tarballs: tuple[str, ...] = setting(
        "pandatx.pilot_tarballs",
        kinds.LIST,
        tuple(f"/cvmfs/atlas.cern.ch/repo/sw/PandaPilot/tar/{name}" for name in _PILOTS),
        "Files that cache_pilots copies where they exist.",
    )
    hs23_url: str | None = setting(
        "pandatx.hs23_url", kinds.URL, None, f"CSV of HEPiX with HS23 scores of CPUs, for hs_scrapers: {_DUMP}"
    )

    request_handlers: dict[str, str] = setting(
        "pandatx.request_handlers",
        kinds.HANDLERS,
        {},
        "Who does asynchronous requests (workflow, event_picking, file_recovery, types of your own) and who hands"
        " commands to idds and data_carousel, as JSON: type to package.module:function, run in a child.",
    )

    @property
    def client_certificate(self) -> Path | None:
        """What to come with, if anything."""
        return self.certificate if self.use_certificate else None
