"""The unmodified pilot's own functions for proxies, key pairs, secrets and event ranges, against a whole server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from cryptography import x509
from event_ranges import JOBSET, SEEDS, TASK
from pilot import environment, obtain, version
from server import Home
from test_real_pilot import CACHE, place_of

from pandatx.domain.user_proxies import file_name
from pandatx.identity.names import bare_dn, compact_name, slash_dn
from pandatx.store.cluster import Cluster

CALLS = """
import json, os, sys
from argparse import Namespace
from pilot.info.storagedata import StorageData
from pilot.util import https, proxy
from pilot.eventservice.communicationmanager.plugins.pandacommunicator import PandaCommunicator

https.https_setup(None, sys.argv[1])
proxy.vomsproxyinfo = lambda *args, **values: (0, "", "")
url, told = os.environ["PANDA_SERVER_URL"], {}
path = os.path.join(os.environ["PILOT_HOME"], "fetched.proxy")
told["proxy"] = proxy.get_proxy(path, "")[0] and open(path).read()
told["no proxy"] = proxy.get_proxy(path + ".other", "no-such-role")[0]
told["keys"] = StorageData.get_security_key(None, "private", "public")
told["no keys"] = StorageData.get_security_key(None, "../client.json", "public")
https.request(url + "/server/panda/set_user_secret", data={"key": "MB_USERNAME", "value": "u"})
asked = {"get_json": True, "keys": "MB_USERNAME,MB_PASSWORD"}
told["secrets"] = https.request(url + "/server/panda/get_user_secrets", data=asked)
talk = PandaCommunicator()
ranges = talk.get_events(Namespace(jobid="50", jobsetid=sys.argv[3], taskid=sys.argv[2], num_ranges=2))
told["ranges"] = [ranges.status, ranges.content]
said = [{"eventRangeID": each["eventRangeID"], "eventStatus": "finished"} for each in ranges.content]
update = {"eventRanges": json.dumps(said), "version": 0, "pandaID": "50"}
told["updated"] = talk.update_events(Namespace(update_events=update)).content
chunk = [{"eventRanges": [{"eventRangeID": "x", "eventStatus": "finished"}], "zipFile": {"lfn": "z", "objstoreID": 1}}]
update = {"eventRanges": json.dumps(chunk), "version": 1, "pandaID": "50"}
told["not updated"] = talk.update_events(Namespace(update_events=update)).content
print("TOLD" + json.dumps(told))
"""


def kept(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o600)


def holder(home: Home) -> str:
    """The DN that the proxy speaks for."""
    chain = x509.load_pem_x509_certificates((home.path / "pilot-proxy.pem").read_bytes())
    return bare_dn(slash_dn(chain[0]))


def prepare(home: Home) -> None:
    dn = holder(home)
    home.set("server", keyDir=home.path / "keys")
    kept(home.path / "keys" / "private", "the private one")
    kept(home.path / "keys" / "public", "the public one")
    kept(home.path / "state" / "credentials" / file_name(dn, None), "a proxy\nof two lines\n")
    assert home.dsn is not None
    connection = psycopg2.connect(home.dsn, options="-c search_path=doma_panda,doma_pandameta")
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO users (id, name, gridpref) VALUES (1, %s, 'pk')", (compact_name(dn),))
        cursor.execute(SEEDS)
    connection.close()


def calls(home: Home, source: Path, work: Path) -> Any:
    """What the pilot's functions make of the answers."""
    work.mkdir()
    environ = environment(source, place_of(home), work, None)
    environ |= {"PANDA_SERVER_URL": home.url, "PILOT_HOME": str(work), "PILOT_USER": "generic"}
    done = subprocess.run(
        [sys.executable, "-c", CALLS, version(source), str(TASK), str(JOBSET)],
        cwd=source,
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    assert told, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(told[0].removeprefix("TOLD"))


def read_well(home: Home, source: Path, work: Path) -> None:
    prepare(home)
    with home.server():
        told = calls(home, source, work)
    assert told["proxy"] == "a proxy\nof two lines\n"
    assert told["no proxy"] is False
    assert told["keys"] == {"publicKey": "the public one", "privateKey": "the private one"}
    assert told["no keys"] == {}
    assert told["secrets"] == [True, {"MB_USERNAME": "u"}]
    status, found = told["ranges"]
    assert (status, [each["eventRangeID"] for each in found]) == (0, ["7-50-13-1-3", "7-50-13-2-3"])
    assert told["updated"] == {"StatusCode": 0, "Returns": [True, True], "Command": {"50": None}}
    assert told["not updated"] == {"StatusCode": 0, "Returns": [False], "Command": {}}


def test_the_pilot_of_pypi_reads_every_answer(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str, tmp_path: Path
) -> None:
    read_well(home_with((cluster, database_name)), obtain(None, CACHE), tmp_path / "work")


@pytest.mark.long
def test_the_pilot_of_a_checkout_reads_every_answer(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str, tmp_path: Path
) -> None:
    read_well(home_with((cluster, database_name)), obtain(os.environ["PILOT"], CACHE), tmp_path / "work")
