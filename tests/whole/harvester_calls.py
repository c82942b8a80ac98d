"""Runs the communicator of a Harvester checkout, unmodified: calls come as lines of JSON, and so do their answers.

A process of its own: what the communicator imports beside requests is stood for here, and so is its configuration. The
first line is {"source": DIR, "settings": {...}}, each other one {"call": NAME, "args": [...]}, where
{"spec": NAME, "values": {...}} stands for a record of Harvester and {"file": PATH} for an open file. An answer is
{"value": ...} or {"fault": TEXT}. {"has": NAME} asks whether this release makes a call.
"""

from __future__ import annotations

import datetime
import importlib
import inspect
import json
import logging
import sys
import traceback
import types
from typing import Any

SPECS = {"JobSpec": "job_spec", "WorkSpec": "work_spec", "DiagSpec": "diag_spec", "EventSpec": "event_spec"}


def stand_for(name: str, **attributes: Any) -> None:
    """A module, and the packages that it is in."""
    whole = ""
    for part in name.split("."):
        parent, whole = whole, f"{whole}.{part}" if whole else part
        if whole not in sys.modules:
            sys.modules[whole] = types.ModuleType(whole)
            sys.modules[whole].__path__ = []  # type: ignore[attr-defined]
            if parent:
                setattr(sys.modules[parent], part, sys.modules[whole])
    for key, value in attributes.items():
        setattr(sys.modules[name], key, value)


class Settings:
    """A section of Harvester's configuration."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


class PandaLogger:
    """Logs to nobody."""

    def getLogger(self, name: str, **how: Any) -> logging.Logger:
        return logging.getLogger(name)


class LogWrapper:
    """As pandalogger's: the same calls with a prefix."""

    def __init__(self, logger: logging.Logger, prefix: str = "", **how: Any) -> None:
        self.debug, self.info, self.warning, self.error = logger.debug, logger.info, logger.warning, logger.error


def with_metaclass(meta: type, *bases: type) -> type:
    """A base with this metaclass."""
    return meta("Base", bases, {})


def prepare(source: str, settings: dict[str, dict[str, Any]]) -> Any:
    """The communicator."""
    import requests

    sys.path.insert(0, source)
    stand_for("Cryptodome.Cipher.AES")
    stand_for("Cryptodome.Hash.HMAC")
    stand_for("Cryptodome.Random")
    stand_for("rpyc")
    # What releases of 2020 took to run with Python 2 too.
    stand_for("future.utils", iteritems=lambda each: each.items(), with_metaclass=with_metaclass)
    stand_for("past.builtins", long=int)
    for package in ("pandalogger", "pandacommon.pandalogger"):
        stand_for(f"{package}.PandaLogger", PandaLogger=PandaLogger)
        stand_for(f"{package}.LogWrapper", LogWrapper=LogWrapper)
    stand_for(
        "pandacommon.pandautils.net_utils", get_http_adapter_with_random_dns_resolution=lambda *args: requests.Session()
    )
    importlib.import_module("pandaharvester.harvesterconfig")
    config = types.ModuleType("pandaharvester.harvesterconfig.harvester_config")
    for section, values in settings.items():
        setattr(config, section, Settings(values))
    sys.modules[config.__name__] = config
    sys.modules["pandaharvester.harvesterconfig"].harvester_config = config  # type: ignore[attr-defined]
    module = importlib.import_module("pandaharvester.harvestercommunicator.panda_communicator")
    return module.PandaCommunicator()


def made(value: Any) -> Any:
    """An argument as the communicator takes it."""
    if isinstance(value, list):
        return [made(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "file" in value:
        return open(value["file"], "rb")  # noqa: PTH123
    if "time" in value:
        return datetime.datetime.fromisoformat(value["time"])
    if "spec" not in value:
        return {key: made(each) for key, each in value.items()}
    module = importlib.import_module(f"pandaharvester.harvestercore.{SPECS[value['spec']]}")
    spec = getattr(module, value["spec"])()
    if "job" in value:
        spec.convert_job_json(value["job"])
    for name, each in value.get("values", {}).items():
        setattr(spec, name, made(each))
    return spec


def answer(communicator: Any, asked: dict[str, Any]) -> dict[str, Any]:
    if "has" in asked:
        return {"value": hasattr(communicator, asked["has"])}
    method = getattr(communicator, asked["call"])
    args = [logging.getLogger() if each == "LOGGER" else made(each) for each in asked["args"]]
    try:
        return {"value": method(*args[: len(inspect.signature(method).parameters)])}  # older ones take fewer
    except Exception:
        return {"fault": traceback.format_exc()}


def main() -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    communicator = None
    for line in sys.stdin:
        asked = json.loads(line)
        if communicator is None:
            communicator = prepare(asked["source"], asked["settings"])
            told: Any = {"value": None}
        else:
            told = answer(communicator, asked)
        sys.stdout.write(json.dumps(told, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
