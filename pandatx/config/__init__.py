"""Configuration is a value: read once, all faults at once, handed on as frozen settings."""

from pandatx.config.config import Config, Origin, declared, load
from pandatx.config.connections import Connections, connections_of
from pandatx.config.daemons import default_timeout
from pandatx.config.faults import ConfigurationFaults
from pandatx.config.kinds import PluginEntry, roles_of
from pandatx.config.messaging import MessagingSettings
from pandatx.config.outside import OutsideSettings
from pandatx.config.sections import (
    DaemonEntry,
    DaemonSettings,
    DatabaseSettings,
    FileSettings,
    HttpSettings,
    IdentitySettings,
    JobSettings,
    LeftOut,
    OpsSettings,
    ProcessSettings,
    Schemas,
)

__all__ = [
    "Config",
    "ConfigurationFaults",
    "Connections",
    "DaemonEntry",
    "DaemonSettings",
    "DatabaseSettings",
    "FileSettings",
    "HttpSettings",
    "IdentitySettings",
    "JobSettings",
    "LeftOut",
    "MessagingSettings",
    "OpsSettings",
    "Origin",
    "OutsideSettings",
    "PluginEntry",
    "ProcessSettings",
    "Schemas",
    "connections_of",
    "declared",
    "default_timeout",
    "load",
    "roles_of",
]
