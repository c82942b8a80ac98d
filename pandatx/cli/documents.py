"""The configuration and site descriptions of a folder made by ``pandatx init``: plain values in, texts out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import frozen

QUEUE = "LOCAL"
ENDPOINT = "LOCAL_DATA"
PRODUCTION_DN = "/DC=local/DC=pandatx/CN=production"
USER_DN = "/DC=local/DC=pandatx/CN=user"
PILOT_DN = "/DC=local/DC=pandatx/CN=pilot"
CA_DN = "/DC=local/DC=pandatx/CN=pandatx private CA"

# Newer pilots ask by read_lan and write_lan, older ones by pr and pw; without "default" pilot3 turns to rucio.
_ACTIVITIES = (
    "pr",
    "pw",
    "pl",
    "pls",
    "read_lan",
    "write_lan",
    "write_lan_analysis",
    "read_wan",
    "write_wan",
    "default",
)


@frozen(kw_only=True)
class Places:
    """Where the folder is and which ports its server takes."""

    home: Path
    http_port: int
    https_port: int
    cache_port: int | None = None
    metrics_port: int
    user: str
    group: str

    @property
    def url_cache_port(self) -> int:
        return self.cache_port or self.http_port


SERVER_CFG = """\
; Made by pandatx init. `pandatx config check` prints every value in force; docs/configuration.md says what each means.

[server]
backend = postgres
; No dbhost: the server keeps a PostgreSQL of its own.
pserverhost = localhost
pserverport = {p.https_port}
pserverporthttp = {p.http_port}
pserverportcache = {p.url_cache_port}
logdir = {p.home}/log
cache_dir = {p.home}/cache
schedconfig_cache_dir = {p.home}/cache/schedconfig
auth_config = {p.home}/auth
CRIC_URL_SCHEDCONFIG = {queues}
adder_plugins = any:pandatx.plugins.local:Adder
setupper_plugins = any:pandatx.plugins.local:Setupper
; Whole names, whole DNs or whole parts of DNs. Who holds production.pem may do everything.
production_dns = {production}
pilot_owners = {pilot}

[pandatx]
state_dir = {p.home}/state
host_cert = {p.home}/hostcert.pem
host_key = {p.home}/hostkey.pem
ca_dir = {p.home}/certificates
vomsdir = {p.home}/vomsdir
trf_dir = {p.home}/trf
cric_dir = {p.home}/cric
storage = {storage}
metrics_address = 127.0.0.1:{p.metrics_port}
{cache}
[daemon]
enable = True
uname = {p.user}
gname = {p.group}
n_proc = 2
config = {{
    "add_main": {{
        "enable": true, "period": 240, "loop": true}},
    "add_sub": {{
        "enable": true, "period": 240}},
    "copyArchive": {{
        "enable": true, "period": 600, "sync": true}},
    "datasetManager": {{
        "enable": true, "period": 600, "sync": true}},
    "cache_schedconfig": {{
        "enable": true, "period": 300}}
    }}
"""

COMMON_CFG = """\
; Made by pandatx init.

[logger]
logdir = {p.home}/log
log_level = INFO
"""


def server_cfg(places: Places) -> str:
    """panda_server.cfg, with every path absolute."""
    storage = json.dumps({ENDPOINT: f"{places.home}/storage"})
    cache = "" if places.cache_port is None else f"cache_port = {places.cache_port}\n"
    return SERVER_CFG.format(
        p=places,
        production=PRODUCTION_DN,
        pilot=PILOT_DN,
        storage=storage,
        cache=cache,
        queues=(places.home / "queues.json").as_uri(),
    )


def common_cfg(places: Places) -> str:
    """panda_common.cfg."""
    return COMMON_CFG.format(p=places)


def client(places: Places) -> str:
    """client.json: how the command line finds this server, and as whom it speaks (rule R39); files are relative."""
    return _json(
        {
            "made_by": "pandatx init",
            "url": f"https://localhost:{places.https_port}",
            "ca": "ca.pem",
            "certificate": "production.pem",
            "transformation": f"http://localhost:{places.http_port}/trf/user/runGen-00-00-02",
        }
    )


def queues() -> str:
    """queues.json: the queue LOCAL in the form of CRIC's dump, with all that a pilot needs to work offline."""
    queue = {
        "name": QUEUE,
        "nickname": QUEUE,
        "panda_resource": QUEUE,
        "siteid": QUEUE,
        "site": QUEUE,
        "atlas_site": QUEUE,
        "gstat": QUEUE,
        "cloud": QUEUE,
        "vo_name": "local",
        "type": "unified",
        "state": "ACTIVE",
        "status": "online",
        "resource_type": "grid",
        "workflow": "pull",
        "capability": "score",
        "corecount": 1,
        "corepower": 10,
        "maxrss": 4000,
        "minrss": 0,
        "maxtime": 345600,
        "maxwdir": 10000,
        "maxinputsize": 10000,
        "timefloor": 0,
        "catchall": "mv_final_destination,allow_no_pilot",
        "container_type": "",
        "is_cvmfs": False,
        "copytools": {"mv": {"setup": ""}},
        "acopytools": {activity: ["mv"] for activity in _ACTIVITIES},
        "astorages": {activity: [ENDPOINT] for activity in _ACTIVITIES},
        "ddm": ENDPOINT,
    }
    return _json({QUEUE: queue})


def endpoints(places: Places) -> str:
    """ddmendpoints.json: the folder ``storage`` as a storage element."""
    protocol = {"endpoint": "file://localhost", "flavour": "POSIX", "path": f"{places.home}/storage/"}
    endpoint = {
        "name": ENDPOINT,
        "site": QUEUE,
        "state": "ACTIVE",
        "type": "DATADISK",
        "token": ENDPOINT,
        "is_deterministic": True,
        "arprotocols": {activity: [protocol] for activity in _ACTIVITIES},
        "rprotocols": {},
        "special_setup": {},
        "resource": {},
    }
    return _json({ENDPOINT: endpoint})


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
