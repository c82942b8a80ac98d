"""An operator's script on a real server with its own database: what it is given, and what it may ask for."""

from __future__ import annotations

import json
import os

from server import until

SCRIPT = """
import json, logging, os

def main(argv=(), tbuf=None, **kwargs):
    [[job]] = tbuf.querySQL("SELECT pandaid FROM jobsactive4 UNION SELECT pandaid FROM jobsdefined4")
    found = {
        "argv": argv[1:],
        "kwargs": sorted(kwargs),
        "job": job,
        "statuses": tbuf.call("jobs.statuses", [job]),
        "owner": tbuf.call("jobs.describe", [job, 999999999], archive=True)[0]["prodUserName"],
        "queues": tbuf.call("facts.queues"),
        "queue": tbuf.call("facts.queue", "LOCAL")["nickname"],
        "parameter": tbuf.getConfigValue("nowhere", "NOTHING"),
        "found": [each["PandaID"] for each in tbuf.call("jobs.find", queue="LOCAL")],
        "command": tbuf.call("killing.command", job, "hello"),
        "older": tbuf.getJobStatus([job, 999999999]),
        "killed": tbuf.killJobs([job], "the sweeper", 4, True),
        "after": tbuf.call("jobs.statuses", [job])[0][1],
        "complete": refusal(tbuf, "datasets.complete", "no.such.block"),
        "environment": {name: os.environ.get(name) for name in
                        ("HOME", "X509_USER_PROXY", "X509_CERT_DIR", "RUCIO_ACCOUNT", "SECRET_OF_THE_SERVER")},
    }
    logging.getLogger("sweep").warning("swept")
    print("printed by the sweep")
    with open(argv[1] + ".new", "w") as out:
        json.dump(found, out)
    os.rename(argv[1] + ".new", argv[1])

def refusal(tbuf, *ask):
    try:
        return tbuf.call(*ask)
    except Exception as fault:
        return str(fault)
"""


def test_a_script_is_given_the_database_and_the_operations_of_its_server(home_with):
    home = home_with()
    package = home.path / "scripts" / "site-scripts"
    package.mkdir(parents=True)
    (package / "sweep-jobs.py").write_text(SCRIPT)
    path = home.path / "found"
    entry = {"module": "sweep-jobs", "period": 600, "arguments": [str(path), "dump", "-n", 100]}
    home.set("daemon", enable=True, package="site-scripts", n_proc=1, config=json.dumps({"sweep": entry}))
    paths = [str(package.parent), os.environ.get("PYTHONPATH")]
    ours = {"X509_USER_PROXY": "/tmp/x509up", "X509_CERT_DIR": "/etc/certs", "RUCIO_ACCOUNT": "panda"}
    home.environ |= {**ours, "SECRET_OF_THE_SERVER": "x", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    server = home.server("--roles", "http").start()
    until(lambda: home.command("job", "submit", "--queue", "LOCAL", "--exec", "true").returncode == 0, "submitted")
    until(lambda: home.tables().scalar("SELECT count(*) FROM doma_panda.jobsactive4"), "activated")
    job = home.tables().scalar("SELECT max(pandaid) FROM doma_panda.jobsactive4")
    server.stop()
    server = home.server().start()
    until(path.exists, lambda: server.logged("panda-daemons.log")[-3000:])
    found = json.loads(path.read_text())
    assert found["argv"] == [str(path), "dump", "-n", 100]
    assert found["kwargs"] == ["lock_pool"]
    assert found["statuses"] == [[job, "activated", 0]]
    assert found["queues"] == ["LOCAL"] and found["queue"] == "LOCAL" and found["parameter"] is None
    assert found["found"] == [job] and found["owner"]
    assert found["older"] == ["activated", None]
    assert found["killed"] == [True] and found["after"] == "closed"
    assert "no.such.block" in found["complete"]
    assert found["environment"] == {**ours, "HOME": os.environ.get("HOME"), "SECRET_OF_THE_SERVER": None}
    for file, word in (
        ("panda-sweep.log", "WARN daemon sweep"),
        ("panda-daemons.log", "swept"),
        ("panda_daemon_stdout.log", "printed by the sweep"),
        ("panda_server_error_log", "swept"),
    ):
        assert word in server.logged(file), file
