"""What a connection does in each kind of run, as a script: it yields requests and judges their answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from urllib.parse import parse_qs

import orjson
from attrs import evolve, frozen

from bench import bodies
from bench.bodies import JobForm, PilotForm
from bench.client import Answer, Ask, Script, Target
from bench.figures import Tally


@frozen(kw_only=True)
class Plan:
    """One run: what is asked, of whom, with which jobs."""

    target: Target
    tally: Tally
    dialect: str = "legacy"
    connections: int = 32
    queues: tuple[str, ...] = ("LOCAL",)
    pilot: PilotForm = PilotForm()
    form: JobForm = JobForm()
    running: Sequence[int] = ()
    bulk: int = 1000
    expect_none: bool = False  # the right answer to getJob is "no jobs"


def scripts(name: str, plan: Plan) -> list[Script]:
    """One script for each connection of ``plan``."""
    return OPERATIONS[name](plan)


def _alive(plan: Plan) -> list[Script]:
    request = bodies.is_alive(plan.target, plan.dialect)
    right = b'"success":true' if plan.dialect == "v1" else b"alive=yes"

    def script() -> Script:
        while True:
            answer = yield Ask("is_alive", request)
            if answer.status != 200 or right not in answer.body.replace(b" ", b""):
                plan.tally.error(wrong(answer))

    return [script() for _ in range(plan.connections)]


def _get_job(plan: Plan) -> list[Script]:
    def script(number: int) -> Script:
        requests = [plan.pilot.get_job(plan.target, queue, number, plan.dialect) for queue in plan.queues]
        for at in itertools.count(number):
            answer = yield Ask("getjob", requests[at % len(requests)])
            _judge_job(plan, answer)

    return [script(number) for number in range(plan.connections)]


def _judge_job(plan: Plan, answer: Answer) -> None:
    given = job_given(answer)
    if given is None:
        plan.tally.error(wrong(answer))
    elif given:
        plan.tally.count("jobs")
        if plan.expect_none:
            plan.tally.error("a job that does not fit")
    elif not plan.expect_none:
        plan.tally.error("no jobs")


def job_given(answer: Answer) -> bool | None:
    """Whether a getJob answer of either dialect holds a job; None if it is no answer at all."""
    start = answer.body[:60]
    if answer.status != 200:
        return None
    if start.startswith(b"StatusCode=0&"):
        return True
    if start.startswith(b"StatusCode=20"):
        return False
    if start.startswith(b"{"):
        data = orjson.loads(answer.body)
        inner = data.get("data") or {}
        if isinstance(inner, dict) and inner.get("jobs"):
            return True
        return False if data.get("StatusCode", inner.get("StatusCode")) == 20 or not data.get("success") else None
    return None


def _heartbeat(plan: Plan) -> list[Script]:
    if not plan.running:
        raise SystemExit("heartbeat needs running jobs: --prepare-running N --dsn DSN")
    requests = [bodies.heartbeat(plan.target, job, "running") for job in plan.running]

    def script(number: int) -> Script:
        for at in itertools.count(number, plan.connections):
            answer = yield Ask("heartbeat", requests[at % len(requests)])
            if answer.status != 200 or not accepted(answer.body):
                plan.tally.error(wrong(answer))

    return [script(number) for number in range(plan.connections)]


def _pilots(plan: Plan) -> list[Script]:
    """Heartbeats on two connections of three, getJob on the others: each at a rate of its own."""
    some = max(plan.connections // 3, 1)
    return [*_heartbeat(evolve(plan, connections=plan.connections - some)), *_get_job(evolve(plan, connections=some))]


def accepted(body: bytes) -> bool:
    """An updateJob answer that says yes and carries no command."""
    return body.startswith(b"StatusCode=0") and b"tobekilled" not in body and b"alreadydone" not in body


def _submit(plan: Plan, size: int = 1) -> list[Script]:
    supply = bodies.submissions(plan.target, plan.form, size)  # shared: no two requests with the same names
    label = "submit" if size == 1 else f"bulk of {size}"

    def script() -> Script:
        for request in supply:
            answer = yield Ask(label, request)
            if submitted(answer):
                plan.tally.count("submitted", size)
            else:
                plan.tally.error(wrong(answer))

    return [script() for _ in range(plan.connections)]


def submitted(answer: Answer) -> bool:
    start = answer.body[:200].replace(b" ", b"")
    return answer.status == 200 and (b'"success":true' in start or answer.body.rstrip().endswith(b'"success":true}'))


def _bulk(plan: Plan) -> list[Script]:
    return _submit(plan, plan.bulk)


def _lifecycle(plan: Plan) -> list[Script]:
    supply = bodies.submissions(plan.target, plan.form, 1)
    return [_life(plan, supply, number) for number in range(plan.connections)]


def _life(plan: Plan, supply: Iterator[bytes], number: int) -> Script:
    """Submit a job, then be the pilot of one: not always the same job, but as many come in as go out."""
    get_job = plan.pilot.get_job(plan.target, plan.form.queue, number, "legacy")
    for request in supply:
        answer = yield Ask("submit", request)
        if not submitted(answer):
            plan.tally.error(wrong(answer))
            continue
        answer = yield Ask("getjob", get_job, paced=False)
        if not job_given(answer):
            plan.tally.error("no jobs" if job_given(answer) is False else wrong(answer))
            continue
        job = parse_qs(answer.body.decode())
        if (
            yield from _be_pilot(plan, int(job["PandaID"][0]), int(job["attemptNr"][0]), job["outFiles"][0].split(","))
        ):
            plan.tally.count("lifecycles")


def _be_pilot(plan: Plan, job: int, attempt: int, files: list[str]) -> Generator[Ask, Answer, bool]:
    report = bodies.output_report(files)
    steps = (("starting", ""), ("running", ""), ("finished", report))
    good = True
    for state, xml in steps:
        request = bodies.heartbeat(plan.target, job, state, attempt=attempt, report=xml)
        answer = yield Ask(state, request, paced=False)
        if answer.status != 200 or not accepted(answer.body):
            plan.tally.error(wrong(answer))
            good = False
    return good


def wrong(answer: Answer) -> str:
    """A short word for an answer that should have been another, so that equal ones are counted together."""
    if answer.status == 0:
        return f"broken connection: {answer.body.decode()}"
    text = answer.body[:80].decode("utf-8", "replace").split("\n")[0]
    return f"{answer.status} {text}".strip()


OPERATIONS: dict[str, Callable[[Plan], list[Script]]] = {
    "is_alive": _alive,
    "getjob": _get_job,
    "upload": _get_job,
    "heartbeat": _heartbeat,
    "pilots": _pilots,
    "submit": _submit,
    "bulk": _bulk,
    "lifecycle": _lifecycle,
}
