"""A whole server hears of files, or finds them itself."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from load import Connection, definition
from server import Home, Process
from server import until as wait
from stomp_broker import Broker, until
from twisted.internet.threads import deferToThread

from pandatx.plugins.storage import path_in

NEEDY = {"lfn": "in.root", "type": "input", "dataset": "user.test.in", "scope": "user.test", "fsize": 5, "GUID": "g"}


EACH_SECOND = """
[daemon]
enable = True
config = {"datasetManager": {"enable": true, "period": 1, "sync": true}}

[once]
"""


def needy() -> dict[str, Any]:
    """A job with an input that is nowhere."""
    wanted = definition("needy")
    wanted["Files"].append(dict(NEEDY))
    return wanted


def submitted(home: Home) -> tuple[int, str]:
    """The job, and the block that it waits for."""
    user = Connection(home, "user.pem")
    answer = user.v1("job/submit", jobs=[needy()]).json
    user.close()
    (receipt,) = answer["data"]
    tables = home.tables()
    wait(lambda: tables.status(receipt[0]) == "assigned", "assigned")
    text = "SELECT dispatchdblock FROM jobsdefined4 WHERE pandaid = %(id)s"
    block = tables.scalar(text, id=receipt[0])
    tables.close()
    return receipt[0], block


def status_of(home: Home, job: int) -> str | None:
    tables = home.tables()
    try:
        return tables.status(job)
    finally:
        tables.close()


def health(home: Home) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{home.metrics_port}/readyz", timeout=5) as answer:
        return {check["name"]: check for check in json.load(answer)["checks"]}


@pytest_twisted.async_yield_fixture
async def broker():
    made = Broker(password="a-secret-word")
    made.start()
    yield made
    await made.stop()


async def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    return await deferToThread(work, *args)


async def test_a_message_of_a_complete_block_releases_its_jobs(home: Home, broker: Broker) -> None:
    home.environ["BROKER_WORD"] = "a-secret-word"
    home.set(
        "pandatx",
        messages_host="127.0.0.1",
        messages_port=broker.port,
        messages_destination="/queue/panda",
        messages_user="panda",
        messages_password="${BROKER_WORD}",
    )
    server: Process = await in_thread(home.server().start)
    job, block = await in_thread(submitted, home)
    broker.send("m1", json.dumps({"event_type": "datasetlock_ok", "payload": {"name": block}}).encode())
    await until(lambda: broker.acknowledged == ["m1"])
    assert await in_thread(status_of, home, job) == "activated"
    checks = await in_thread(health, home)
    assert checks["messages"]["text"] == f"listening to /queue/panda at 127.0.0.1:{broker.port}"
    await broker.stop()
    await in_thread(wait, lambda: not health(home)["messages"]["ok"], "it notices that the broker is away")
    assert health(home)["database"]["ok"]
    assert await in_thread(server.stop) in (0, 143, -signal.SIGTERM)
    logged = "".join(path.read_text(errors="replace") for path in home.path.rglob("*.log"))
    assert logged.count("the message broker") == 1
    assert "a-secret-word" not in logged + server.text


@pytest.mark.parametrize("content", [b"whole", b"part"])
def test_a_file_that_is_put_into_the_storage_releases_its_job(home: Home, content: bytes) -> None:
    home.config.write_text(home.config.read_text().replace("\n[daemon]\n", EACH_SECOND, 1))
    with home.server() as server:
        tables = home.tables()
        job, _ = submitted(home)
        path = path_in(str(home.path / "storage"), NEEDY["scope"], NEEDY["lfn"])
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        # It was asked for when it was assigned, and would be asked for again an hour later.
        tables.query("UPDATE jobsdefined4 SET proddbupdatetime = NULL RETURNING 1")
        if content == b"whole":
            wait(lambda: tables.status(job) == "activated", "activated")
            wait(lambda: "daemon datasetManager: activated 1" in server.text, "a line in the log")
        else:
            asked = "SELECT proddbupdatetime FROM jobsdefined4 WHERE proddbupdatetime IS NOT NULL"
            wait(lambda: tables.query(asked), "it is asked for")
            assert tables.status(job) == "assigned"
        tables.close()
