"""pchain, pcontainer, phpo, event picking, secrets and workflows by the unmodified panda-client, also when refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from panda_client import PandaClient, Release
from server import Home

pytestmark = pytest.mark.long
HANDLERS = """
def workflow(request, settings):
    done = "checked" if request["dry_run"] else "made"
    return {"status": "done", "result": {"request_id": 42, "log": f"{done} for {request['requester']}"}}


def events(request, settings):
    return {"status": "done", "result": request["events"]}


def idds(request, settings):
    told = f"{request['command_name']} of {request['kwargs']['request_id']} for {request['user']}"
    return {"ok": True, "data": {"status": 0, "message": told}} if request["owner_only"] else {"ok": True, "data": told}
"""
PCHAIN = ("pchain", "--cwl", "x.cwl", "--yaml", "y.yaml", "--outDS", "user.user.w", "--vo", "wlcg")
PICKING = (
    *("prun", "--exec", "python a.py", "--outDS", "user.user.e", "--noBuild", "--vo", "wlcg"),
    *("--eventPickEvtList", "events", "--eventPickDataType", "AOD"),
)
PCONTAINER = ("pcontainer", "--containerImage", "docker://x", "--exec", "echo", "--outDS", "user.user.c")
PHPO = (
    *("phpo", "--steeringContainer", "docker://s", "--steeringExec", "run", "--evaluationContainer", "docker://e"),
    *("--evaluationExec", "python a.py", "--evaluationInput", "in.json", "--evaluationOutput", "out.json"),
    *("--outDS", "user.user.h", "--nParallelEvaluation", 1, "--maxPoints", 2, "--searchSpaceFile", "space.json"),
)


@pytest.fixture
def client(home: Home, release: Release, tmp_path: Path) -> PandaClient:
    """A user with files; no server is started."""
    client = PandaClient.on_grid(release, home, tmp_path / "work")
    files = {"a.py": "", "x.cwl": "cwlVersion: v1.0\n", "y.yaml": "a: 1\n", "events": "1 2\n3 4\n", "space.json": "{}"}
    for name, content in {**files, "word": "a secret"}.items():
        (client.directory / name).write_text(content)
    return client


def with_handlers(home: Home) -> Home:
    folder = home.path / "handlers"
    folder.mkdir()
    (folder / "engines.py").write_text(HANDLERS)
    home.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    kinds = {"workflow": "workflow", "event_picking": "events", "idds": "idds"}
    home.set("pandatx", request_handlers=json.dumps({kind: f"engines:{name}" for kind, name in kinds.items()}))
    return home


def said(client: PandaClient, *line: object) -> str:
    done = client.run(*line)
    return done.stdout + done.stderr


def test_what_no_handler_is_named_for_is_refused_at_once(home: Home, client: PandaClient) -> None:
    with home.server():
        for flags, word in (((), "submit"), (("--check",), "check")):
            text = said(client, *PCHAIN, *flags)
            assert f"workflow {word} failed. workflows need a workflow engine" in text, text
        picked = client.run(*PICKING)
        assert picked.returncode == 255
        assert "event picking needs an event index" in picked.stdout + picked.stderr
        assert "ERROR : iDDS is not configured at this server" in said(client, "pbook", "-c", "kill_workflow(3)")
        tables = home.tables()
        assert tables.query("SELECT request_type FROM async_requests") == []
        tables.close()


def test_requests_reach_the_operators_handlers(home: Home, client: PandaClient) -> None:
    with with_handlers(home).server():
        text = said(client, *PCHAIN)
        assert "successfully submitted with request_id=42" in text, text
        text = said(client, *PCHAIN, "--check")
        assert "checked for user" in text and "successfully verified workflow description" in text, text
        assert "abort of 3 for user" in said(client, "pbook", "-c", "kill_workflow(3)")
        assert "get_status of 3 for user" in said(client, "pbook", "-c", "show_workflow(3)")
        said(client, *PICKING)  # whose answer only curl's way of reading takes for what it is
        tables = home.tables()
        kinds = tables.query("SELECT request_type FROM async_requests ORDER BY created_at")
        assert kinds == [("workflow",), ("workflow",), ("event_picking",)]
        tables.close()


def test_containers_and_hyperparameters_become_tasks(home: Home, client: PandaClient) -> None:
    with home.server():
        for line in (PCONTAINER, PHPO):
            done = client.run(*line)
            assert done.returncode == 0 and "succeeded. new jediTaskID=" in done.stdout, done.stdout + done.stderr
        again = client.run(*PCONTAINER)
        assert again.returncode == 90
        assert "is already queued for outDS=user.user.c/." in again.stdout + again.stderr
        tables = home.tables()
        tasks = tables.query("SELECT taskname, status, username FROM doma_deft.t_task ORDER BY taskid")
        assert tasks == [("user.user.c/", "waiting", "user"), ("user.user.h/", "waiting", "user")]
        tables.close()


def test_secrets_are_kept_shown_and_removed(home: Home, client: PandaClient) -> None:
    steps = (
        *("set_secret('colour', 'green')", "set_secret('file', 'word', is_file=True)", "list_secrets()"),
        *("delete_secret('file')", "list_secrets()", "delete_all_secrets()", "list_secrets()"),
    )
    with home.server():
        text = said(client, "pbook", "-c", "; ".join(steps))
    both, one, none = text.split("Key")[1], text.split("Key")[2], text.split("Key")[-1]
    assert "green" in both and "YSBzZWNyZXQ=" in both, text
    assert "green" in one and "YSBzZWNyZXQ=" not in one, text
    assert "No secrets" in none, text
