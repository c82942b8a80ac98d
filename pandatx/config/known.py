"""Keys that the older server's files have and this server does not use: named in a warning, and harmless."""

from __future__ import annotations

_SERVER = """
add_serialized certdir closer_plugins cursor_dump dbbridgeverbose def_ddm def_nickname def_queue
def_sitename def_status def_type disableHTTP disable_file_aggregation disable_file_dispatch dumpBadRequest dump_sql
emailLogin emailPass emailSMTPsrv emailSender endpoint_mapfile entryVerbose home_dir_cwd
loggername mq_configFile nJobsInGetJob native_python native_python32
pandaCommon_dir pandaEmailNotification pandaProxy_URLSSL pandaProxy_ca_certs pandaPython_dir
pserveralias record_statuschange schemaEI schemaGRISLI schemaJEDI token_audience
token_issuers useJEDI usedbtimeout wn_script_base_url
"""
_LOGGER = """
loghost monport-apache monport-apache_new method method_new encoding encoding_new monurlprefix monurlprefix_new
loghost_new nemitters rotating_policy rotating_backup_count rotating_max_size rotating_interval
"""
_BY_SECTION = {
    "server": frozenset(_SERVER.split()),
    "logger": frozenset(_LOGGER.split()),
    "daemon": frozenset({"use_tbif"}),
}
_PREFIXES = {"server": ("ei_",), "mcp": ("",), "kafka": ("",)}

VARIABLES = frozenset(
    f"PANDA_SERVER_CONF_{name}"
    for name in ("MIN_WORKERS NUM_WSGI NUM_WSGI_THREAD MAX_BACKLOG PORT_MCP MAX_CONNECTIONS THREADS_PER_CHILD".split())
)


def of_the_older_server(section: str, name: str) -> bool:
    """Whether the older server knows a key that this one does not use."""
    return name in _BY_SECTION.get(section, ()) or name.startswith(_PREFIXES.get(section, ("\0",)))
