"""``pandatx job`` and ``dataset``: what they ask, print and exit with; the server is a stand-in here."""

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from pandatx.cli import client, init
from pandatx.cli.documents import Places
from pandatx.cli.main import main
from pandatx.domain.columns import check_file, check_job
from pandatx.domain.pilot_job import job_dictionary
from pandatx.domain.queues import load_dump
from pandatx.errors import BadRequest
from pandatx.resources.jobspec import job_of


class Server:
    """Keeps what it is asked, and answers from a dictionary."""

    def __init__(self):
        self.asked, self.answers = [], {}

    def _ask(self, operation, fields):
        self.asked.append((operation, fields))
        answer = self.answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return answer(fields) if callable(answer) else answer


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job") / "home"
    init.write(Places(home=folder, http_port=1, https_port=2, metrics_port=3, user="a", group="a"), datetime.now(UTC))
    return folder


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(client.Client, "post", lambda self, operation, **fields: server._ask(operation, fields))
    monkeypatch.setattr(client.Client, "get", lambda self, operation, **fields: server._ask(operation, fields))
    server.answers["job/submit"] = lambda fields: [[100 + n, 1, {"jobsetID": 1}] for n, _ in enumerate(fields["jobs"])]
    return server


@pytest.fixture
def run(home):
    return lambda *words, **how: CliRunner().invoke(main, ["--home", str(home), *map(str, words)], **how)


def submitted(server):
    ((_, fields),) = server.asked
    return fields["jobs"]


def test_each_panda_id_is_a_line_and_nothing_else_is_on_stdout(run, server):
    done = run("job", "submit", "--queue", "LOCAL", "--n", 3, "--exec", "echo hello")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "100\n101\n102\n", "")


def test_the_options_are_in_the_job(run, server):
    words = ("--label", "managed", "--priority", 7, "--memory", 2000, "--transformation", "https://x/trf")
    run("job", "submit", "--queue", "Q", *words, "--exec", "true")
    (job,) = submitted(server)
    found = {name: job[name] for name in ("computingSite", "prodSourceLabel", "assignedPriority", "minRamCount")}
    assert found == {"computingSite": "Q", "prodSourceLabel": "managed", "assignedPriority": 7, "minRamCount": 2000}
    assert job["transformation"] == "https://x/trf"


def test_jobs_of_one_submission_and_of_two_have_no_name_in_common(run, server):
    for _ in range(2):
        run("job", "submit", "--queue", "LOCAL", "--n", 2, "--output", "a.txt", "--exec", "true")
    jobs = [job for _, fields in server.asked for job in fields["jobs"]]
    lfns = [file["lfn"] for job in jobs for file in job["Files"]]
    assert len(set(lfns)) == 8
    assert len({job["jobName"] for job in jobs}) == 4


def test_the_server_reads_the_job_and_a_pilot_gets_all_that_it_needs(run, server, home):
    run("job", "submit", "--queue", "LOCAL", "--output", "a.txt", "--output", "b,c.txt", "--exec", "true")
    job = job_of(submitted(server)[0], 0)
    check_job(job, "job")
    for file in job.files:
        check_file(file, "file")
    (queue,) = load_dump((home / "queues.json").read_text()).queues
    told = job_dictionary(job, queue)
    lfns = told["outFiles"].split(",")
    assert len(lfns) == 3 and lfns[2] == told["logFile"]
    assert told["ddmEndPointOut"] == "LOCAL_DATA,LOCAL_DATA,LOCAL_DATA"
    assert len(told["realDatasets"].split(",")) == 3
    assert told["scopeOut"] == "user.production,user.production" and told["scopeLog"] == "user.production"
    assert len(told["logGUID"]) == 36
    assert told["transformation"] == "http://localhost:1/trf/user/runGen-00-00-02"


COMMANDS = [
    "echo hello > a.txt",
    """printf '%s\\n' "a b" $((1+1)) `true` > a.txt; : "$HOME" \\'""",
    "echo 100% äöü ✓ > a.txt",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_transform_runs_the_command_as_it_was_given_and_names_its_files(run, server, home, tmp_path, command):
    run("job", "submit", "--queue", "LOCAL", "--output", "a.txt", "--exec", command)
    (job,) = submitted(server)
    line = [sys.executable, str(home / "trf/user/runGen-00-00-02"), *shlex.split(job["jobParameters"])]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    direct = subprocess.run(["/bin/bash", "-c", command], cwd=tmp_path, check=True)
    assert direct.returncode == 0
    assert (tmp_path / job["Files"][0]["lfn"]).read_bytes() == (tmp_path / "a.txt").read_bytes()
    assert quote(command, safe="") in job["jobParameters"]


@pytest.mark.parametrize("wrap", [lambda jobs: jobs, lambda jobs: {"jobs": jobs}, lambda jobs: jobs[0]])
def test_a_file_of_definitions_goes_as_it_is(run, server, tmp_path, wrap):
    jobs = [{"computingSite": "LOCAL", "prodSourceLabel": "user", "Files": []}]
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(wrap(jobs)))
    assert run("job", "submit", file).stdout == "100\n"
    assert submitted(server) == jobs


def test_definitions_come_from_stdin_too(run, server):
    assert run("job", "submit", "-", input='[{"computingSite": "LOCAL"}]').stdout == "100\n"


@pytest.mark.parametrize(
    "words",
    [
        ("submit",),
        ("submit", "--exec", "true"),
        ("submit", "--queue", "Q"),
        ("submit", "--queue", "Q", "--exec", "true", "--n", "0"),
        ("submit", "--queue", "Q", "--exec", "true", "--output", "a", "--output", "a"),
        ("submit", "/dev/null"),
        ("submit", "/dev/null", "--n", "2"),
        ("show",),
        ("show", "x"),
        ("kill", "0"),
    ],
)
def test_what_cannot_be_meant_is_exit_2_and_asks_nothing(run, server, words):
    done = run("job", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert server.asked == [] and done.stderr


def test_a_refusal_is_one_line_on_stderr_and_exit_1(run, server):
    server.answers["job/submit"] = BadRequest("jobs[0].computingSite", "unknown queue NIX")
    done = run("job", "submit", "--queue", "NIX", "--exec", "true")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "pandatx: jobs[0].computingSite: unknown queue NIX\n"


JOB = {
    "PandaID": 1, "jobStatus": "failed", "jobName": "x", "computingSite": "LOCAL", "prodSourceLabel": "user",
    "prodUserName": "user", "creationTime": {"__datetime__": "2026-01-02T03:04:05.678"}, "pilotErrorCode": 1305,
    "pilotErrorDiag": "Failed to execute payload", "transExitCode": "7", "exeErrorCode": 0,
    "Files": [{"type": "log", "lfn": "x.log.tgz", "status": "ready", "fsize": 6, "checksum": "ad:084b021f"}],
}  # fmt: skip


def test_a_job_is_shown_with_its_error_and_files(run, server):
    server.answers["job/get_description_incl_archive"] = [JOB]
    shown = run("job", "show", 1).stdout
    for word in ("failed", "2026-01-02 03:04:05\n", "1305 Failed to execute payload", "x.log.tgz", "ready", "7"):
        assert word in shown
    assert "exeError" not in shown


def test_json_is_an_object_a_line_in_the_wires_spelling(run, server):
    server.answers["job/get_description_incl_archive"] = [JOB, JOB]
    lines = run("job", "show", 1, 1, "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [JOB, JOB]
    server.answers["pandatx/list_jobs"] = [JOB]
    assert json.loads(run("job", "list", "--json").stdout) == JOB


def test_a_job_that_is_not_there_is_exit_1_and_the_others_are_shown(run, server):
    server.answers["job/get_description_incl_archive"] = [None, JOB]
    done = run("job", "show", 99, 1)
    assert done.exit_code == 1 and "1305" in done.stdout
    assert done.stderr == "pandatx: no job 99\n"


def test_jobs_are_listed_with_the_filters_asked_for(run, server):
    server.answers["pandatx/list_jobs"] = [JOB]
    done = run("job", "list", "--status", "failed", "--queue", "LOCAL")
    assert server.asked == [("pandatx/list_jobs", {"status": "failed", "queue": "LOCAL", "limit": 100})]
    head, line = done.stdout.splitlines()
    assert head.split()[:2] == ["PandaID", "jobStatus"] and line.split()[:3] == ["1", "failed", "LOCAL"]


def test_killed_jobs_are_printed_and_the_others_complained_of(run, server):
    server.answers["job/kill"] = [True, False]
    done = run("job", "kill", 5, 6)
    assert server.asked == [("job/kill", {"job_ids": [5, 6]})]
    assert (done.exit_code, done.stdout) == (1, "5\n")
    assert done.stderr.startswith("pandatx: job 6 ")


def test_a_complete_dataset_says_how_many_jobs_went_on(run, server):
    server.answers["pandatx/complete_dataset"] = 3
    done = run("dataset", "complete", "user.me.in")
    assert (done.exit_code, done.stdout) == (0, "3\n")
    assert server.asked == [("pandatx/complete_dataset", {"name": "user.me.in"})]
