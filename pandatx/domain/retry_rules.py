"""What operators have set down on errors: whether, how often and with what a job is tried again.

The rules of RETRYERRORS and RETRYACTIONS, and the classes of ERROR_CLASSIFICATION (reference/lifecycle.md 1.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import regex
from attrs import Factory, define, field, frozen

from pandatx.domain.job import Job


class Action(StrEnum):
    """What a rule does."""

    NO_RETRY = "no_retry"
    LIMIT_RETRY = "limit_retry"
    INCREASE_MEMORY = "increase_memory"
    INCREASE_MEMORY_XTIMES = "increase_memory_xtimes"
    INCREASE_CPUTIME = "increase_cputime"
    REDUCE_INPUT = "reduce_input_per_job"


_LIMITS: Final = (Action.NO_RETRY, Action.LIMIT_RETRY)
_FIRST_OF_KIND: Final = (
    Action.INCREASE_MEMORY,
    Action.INCREASE_MEMORY_XTIMES,
    Action.INCREASE_CPUTIME,
    Action.REDUCE_INPUT,
)
SYSTEM: Final = "system"
"""The class of errors that are not the payload's fault."""
_YES: Final = "Y"
_LONGEST_ATTEMPT: Final = 2**15 - 1
LONGEST_MATCH: Final = 0.01
"""Seconds of CPU that an expression may take for one text: payloads write them, and all requests wait meanwhile."""


@define(eq=False)
class Diag:
    """A regular expression on texts of errors. Once it takes too long for one it is void, and named in ``slow``."""

    name: str
    _expression: regex.Pattern[str]
    _slow: list[str]
    _void: bool = False

    def matches(self, text: str) -> bool:
        """Whether it fits from the text's begin."""
        if self._void:
            return False
        try:
            return self._expression.match(text, timeout=LONGEST_MATCH) is not None
        except TimeoutError:
            self._void = True
            self._slow.append(self.name)
            return False


@frozen(kw_only=True)
class RuleRow:
    """A row of RETRYERRORS with its action."""

    retryerror_id: int
    errorsource: str
    errorcode: int
    errordiag: str | None
    parameters: str | None
    architecture: str | None
    release: str | None
    workqueue_id: int | None
    expiration_date: datetime | None
    retry_action: str
    error_active: str | None
    action_active: str | None


@frozen(kw_only=True)
class ClassRow:
    """A row of ERROR_CLASSIFICATION."""

    id: int
    error_source: str
    error_code: int
    error_diag: str
    error_class: str
    active: str | None


@frozen(kw_only=True)
class Rule:
    """A rule as it is applied; ``active`` False: what it would have done is only logged."""

    id: int
    source: str
    code: int
    action: Action
    parameters: Mapping[str, str] = Factory(dict)
    diag: Diag | None = None
    architecture: str | None = None
    release: str | None = None
    work_queue: int | None = None
    active: bool = True
    expires: datetime | None = None

    @property
    def conditions(self) -> int:
        """How many conditions on the job it has, beside those on the error."""
        return sum(map(bool, (self.architecture, self.release, self.work_queue)))

    @property
    def max_attempt(self) -> int:
        """The most attempts that it leaves; no_retry is the strictest limit of all."""
        return 0 if self.action is Action.NO_RETRY else int(self.parameters["maxAttempt"])


@frozen(kw_only=True)
class Classification:
    """An error's class."""

    id: int
    source: str
    code: int
    diag: Diag
    name: str
    active: bool


@frozen(kw_only=True)
class JobError:
    """One error of a job: ``source`` is the column's name as rules spell it, pilotErrorCode."""

    source: str
    code: int
    diag: str


@frozen(kw_only=True)
class Rules:
    """One reading of the tables; ``faults`` are the rules that are void, each with the reason, ``slow`` the names
    of those that have become so while they were in use."""

    by_error: Mapping[tuple[str, int], tuple[Rule, ...]] = Factory(dict)
    classes: Mapping[tuple[str, int], tuple[Classification, ...]] = Factory(dict)
    faults: tuple[str, ...] = ()
    slow: list[str] = Factory(list)


@frozen(kw_only=True)
class Application:
    """A rule that is to be applied to a job, for an error of it."""

    rule: Rule
    error: JobError


@frozen(kw_only=True)
class RetryPlan:
    """What the rules say of one failed job."""

    applications: tuple[Application, ...] = ()
    classified: Classification | None = field(default=None)

    def __bool__(self) -> bool:
        return bool(self.applications) or self.classified is not None


# Reading


def rules_of(rows: Iterable[RuleRow], classes: Iterable[ClassRow]) -> Rules:
    """The rules by error, in the order of their ids; one with a fault is void, the others stand."""
    faults: list[str] = []
    slow: list[str] = []
    by_error: dict[tuple[str, int], list[Rule]] = {}
    for row in sorted(rows, key=lambda each: each.retryerror_id):
        rule = _rule_of(row, faults, slow)
        if rule is not None:
            by_error.setdefault((rule.source, rule.code), []).append(rule)
    classified: dict[tuple[str, int], list[Classification]] = {}
    for each in sorted(classes, key=lambda each: each.id):
        pattern = _diag(f"error class {each.id}", each.error_diag, faults, slow)
        if pattern is not None:
            found = Classification(
                id=each.id,
                source=each.error_source,
                code=each.error_code,
                diag=pattern,
                name=each.error_class,
                active=each.active == _YES,
            )
            classified.setdefault((found.source, found.code), []).append(found)
    return Rules(
        by_error={error: tuple(found) for error, found in by_error.items()},
        classes={error: tuple(found) for error, found in classified.items()},
        faults=tuple(faults),
        slow=slow,
    )


def _rule_of(row: RuleRow, faults: list[str], slow: list[str]) -> Rule | None:
    name = f"retry rule {row.retryerror_id}"
    try:
        action = Action(row.retry_action)
    except ValueError:
        faults.append(f"{name}: no action is called {row.retry_action!r}")
        return None
    pattern = _diag(name, row.errordiag, faults, slow) if row.errordiag else None
    if row.errordiag and pattern is None:
        return None
    parameters = parameters_of(row.parameters)
    if action is Action.LIMIT_RETRY and not _is_attempt(parameters.get("maxAttempt")):
        faults.append(f"{name}: {action} without a maxAttempt: {row.parameters!r}")
        return None
    if action is Action.REDUCE_INPUT and not _are_steps(parameters.get("steps")):
        faults.append(f"{name}: steps are three numbers, not {parameters['steps']!r}")
        return None
    return Rule(
        id=row.retryerror_id,
        source=row.errorsource,
        code=row.errorcode,
        action=action,
        parameters=parameters,
        diag=pattern,
        architecture=row.architecture or None,
        release=row.release or None,
        work_queue=row.workqueue_id,
        active=row.error_active == _YES and row.action_active == _YES,
        expires=row.expiration_date,
    )


def parameters_of(text: str | None) -> dict[str, str]:
    """``key=value&key=value``; a text of another form holds none."""
    pairs = [item.split("=") for item in (text or "").split("&")]
    return {pair[0]: pair[1] for pair in pairs} if all(len(pair) == 2 for pair in pairs) else {}


def _is_attempt(text: str | None) -> bool:
    return text is not None and text.strip().isdecimal() and int(text) <= _LONGEST_ATTEMPT


def _are_steps(text: str | None) -> bool:
    return not text or (len(text.split(",")) == 3 and all(_is_attempt(each) for each in text.split(",")))


def _diag(name: str, text: str, faults: list[str], slow: list[str]) -> Diag | None:
    try:
        return Diag(name, regex.compile(text, regex.DOTALL), slow)
    except (regex.error, RecursionError, OverflowError) as error:
        faults.append(f"{name}: {text!r} is no regular expression: {error}")
        return None


# A job's errors

_AT_THE_END: Final = ("pilot", "exe", "ddm")
_ALL: Final = ("pilot", "exe", "sup", "ddm", "brokerage", "job_dispatcher", "task_buffer")
_SOURCES: Final = {
    "pilot": "pilotErrorCode",
    "exe": "exeErrorCode",
    "sup": "supErrorCode",
    "ddm": "ddmErrorCode",
    "brokerage": "brokerageErrorCode",
    "job_dispatcher": "jobDispatcherErrorCode",
    "task_buffer": "taskBufferErrorCode",
}
TRANS_EXIT_CODE: Final = "transExitCode"


def errors_of_report(job: Job) -> list[JobError]:
    """What the Adder looks at: the pilot's, the payload's and the data's errors, and the transformation's exit code."""
    errors = _errors(job, _AT_THE_END)
    try:
        code = int(job.trans_exit_code or 0)
    except ValueError:
        return errors
    return [*errors, JobError(source=TRANS_EXIT_CODE, code=code, diag="")] if code else errors


def errors_of_silence(job: Job) -> list[JobError]:
    """What the Watcher looks at."""
    return _errors(job, ("job_dispatcher",))


def errors_of_server(job: Job) -> list[JobError]:
    """What both look at when the job has ended."""
    return _errors(job, ("task_buffer",))


def _errors(job: Job, kinds: Iterable[str]) -> list[JobError]:
    return [
        JobError(source=_SOURCES[kind], code=code, diag=getattr(job, f"{kind}_error_diag") or "")
        for kind in kinds
        if (code := getattr(job, f"{kind}_error_code"))
    ]


# Choosing


def plan(job: Job, rounds: Iterable[Sequence[JobError]], rules: Rules, now: datetime) -> RetryPlan:
    """What to apply to a failed job; in each round of errors only those up to the first that a rule acts on count."""
    applications = [each for errors in rounds for each in _first_acted_on(job, errors, rules, now)]
    return RetryPlan(applications=tuple(applications), classified=classify(job, rules))


def _first_acted_on(job: Job, errors: Sequence[JobError], rules: Rules, now: datetime) -> list[Application]:
    for error in errors:
        chosen = choose(job, error, rules.by_error.get((error.source, error.code), ()), now)
        if chosen:
            return [Application(rule=rule, error=error) for rule in chosen]
    return []


def choose(job: Job, error: JobError, rules: Iterable[Rule], now: datetime) -> list[Rule]:
    """Of the rules for this error that the job meets: the first of each kind, and the strictest of the limits.

    Inactive ones take part, so that the log tells what they would do.
    """
    met = [rule for rule in rules if meets(job, error, rule, now)]
    first = [next((rule for rule in met if rule.action is kind), None) for kind in _FIRST_OF_KIND]
    limit = min((rule for rule in met if rule.action in _LIMITS), key=_leniency, default=None)
    return [rule for rule in (*first, limit) if rule is not None]


def _leniency(rule: Rule) -> tuple[int, int, int]:
    """Most conditions first, then the fewest attempts."""
    return -rule.conditions, rule.max_attempt, rule.id


def meets(job: Job, error: JobError, rule: Rule, now: datetime) -> bool:
    """Whether the conditions of a rule for this source and code hold."""
    return (
        (rule.expires is None or now < rule.expires)
        and (not rule.architecture or rule.architecture == job.cmt_config)
        and (not rule.release or rule.release == job.atlas_release)
        and (not rule.work_queue or rule.work_queue == job.work_queue_id)
        and (rule.diag is None or rule.diag.matches(error.diag))
    )


def classify(job: Job, rules: Rules) -> Classification | None:
    """The class of the job's first error that has one."""
    for error in _errors(job, _ALL):
        for each in rules.classes.get((error.source, error.code), ()):
            if error.diag and each.diag.matches(error.diag):
                return each
    return None
