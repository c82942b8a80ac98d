"""How much memory, CPU time and input the next attempts get (reference/lifecycle.md 1.8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.retry_effects import (
    STEPS,
    Attempt,
    JobNeeds,
    Memory,
    TaskNeeds,
    gigabytes_of,
    less_input,
    memory_per_core,
    more_cpu_time,
    more_memory,
    more_memory_by_task,
    rule_value,
    with_rule,
)

TASK = TaskNeeds(ram_count=2000, ram_unit="MBPerCore")


def job(ram: float, cores: int | None = 1, unit: str | None = "MB") -> JobNeeds:
    """With what the job generator makes of this memory."""
    return JobNeeds(min_ram_count=round(ram * 0.9), min_ram_unit=unit, core_count=cores)


# increase_memory


@pytest.mark.parametrize(
    ("used", "step"),
    [(500, 2000), (1999, 2000), (2000, 3000), (3000, 4000), (4000, 6000), (6000, 8000), (8000, None), (9000, None)],
)
def test_files_get_the_next_step_above_what_the_job_had(used, step):
    few = {2000: 10}
    expected = Memory(files=step) if step is not None and step >= TASK.ram_count else Memory()
    if used == 500:
        expected = Memory()  # the task asks for more than the next step already
    assert more_memory(TASK, job(used), few) == expected


def test_memory_of_a_task_that_counts_per_core_is_compared_per_core():
    assert more_memory(TASK, job(16000, 8), {}) == Memory(files=3000)
    assert more_memory(TASK, job(17000, 8), {}) == Memory(files=3000)
    whole = TaskNeeds(ram_count=2000, ram_unit="MB")
    assert more_memory(whole, job(2500, 8), {}) == Memory(files=3000)


def test_the_base_memory_of_the_task_is_not_what_a_step_is_counted_from():
    task = TaskNeeds(ram_count=2000, ram_unit="MBPerCore", base_ram_count=1000)
    assert more_memory(task, job(3000), {}) == Memory(files=3000)


@pytest.mark.parametrize(
    ("above", "whole", "for_task"), [(3, 10, False), (31, 100, True), (30, 100, False), (4, 10, True)]
)
def test_the_task_gets_more_when_more_than_three_in_ten_of_its_files_did(above, whole, for_task):
    found = more_memory(TASK, job(2000), {3000: above, 0: whole - above})
    assert found == (Memory(task=3000) if for_task else Memory(files=3000))


def test_a_fixed_memory_of_a_task_stays():
    task = TaskNeeds(ram_count=2000, ram_unit="MBPerCoreFixed")
    assert more_memory(task, job(2000), {3000: 10}) == Memory(files=3000)


def test_a_task_with_most_memory_gets_no_more():
    assert more_memory(TaskNeeds(ram_count=8000, ram_unit="MB"), job(8000), {9000: 10}) == Memory()


@given(st.integers(0, 12000), st.integers(0, 12000), st.dictionaries(st.integers(0, 12000), st.integers(1, 100)))
def test_memory_only_grows_and_only_to_a_step(task_ram, used, files):
    task = TaskNeeds(ram_count=task_ram, ram_unit="MB")
    found = more_memory(task, job(used), files)
    assert found.task is None or found.files is None
    if found.task is not None:
        assert found.task in STEPS
        assert found.task >= task_ram
    if found.files is not None:
        assert found.files in STEPS
        assert found.files >= task_ram
        assert found.files > job(used).ram


# increase_memory_xtimes


@pytest.mark.parametrize(
    ("split_rule", "used", "files"),
    [
        ("RY=3000", 2000, 3000),
        ("RY=3000", 3000, 4500),
        ("RY=3000,RZ=4000", 3000, 4000),
        ("RY=3000,RZ=3000", 3000, None),
        ("", 2000, None),
        ("RY=much", 2000, None),
        ("RY=inf", 2000, None),
        ("RY=2000", 2000, None),
    ],
)
def test_files_get_as_much_more_as_the_task_says(split_rule, used, files):
    task = TaskNeeds(ram_count=2000, ram_unit="MB", split_rule=split_rule)
    assert more_memory_by_task(task, job(used), {}) == Memory(files=files)


def test_the_most_memory_of_a_task_is_shared_among_cores_where_it_counts_per_core():
    task = TaskNeeds(ram_count=2000, ram_unit="MBPerCore", split_rule="RY=4000,RZ=24000")
    assert more_memory_by_task(task, job(16000, 8), {}) == Memory(files=3000)


def test_the_task_gets_it_beyond_all_steps_when_many_files_did():
    task = TaskNeeds(ram_count=8000, ram_unit="MB", split_rule="RY=16000")
    assert more_memory_by_task(task, job(8000), {9000: 4, 0: 6}) == Memory(task=16000)
    assert more_memory_by_task(task, job(8000), {9000: 3, 0: 7}) == Memory(files=16000)


def test_a_task_without_memory_of_its_own_is_left_alone():
    assert more_memory_by_task(TaskNeeds(split_rule="RY=4000"), job(2000), {}) == Memory()


@pytest.mark.parametrize(
    ("unit", "cores", "ram", "expected"),
    [
        ("MBPerCore", 4, 2000, (4, 7290)),
        ("MB", 4, 2000, (4, 1890)),
        ("MB", None, 2000, (1, 1890)),
        ("MB", 0, 2000, (8, 1890)),
    ],
)
def test_the_resource_type_follows_from_the_memory_as_a_job_would_ask_for_it(unit, cores, ram, expected):
    task = TaskNeeds(ram_unit=unit, core_count=cores, base_ram_count=100)
    assert memory_per_core(task, ram) == expected


# increase_cputime

TIMED = TaskNeeds(base_wall_time=600, cpu_efficiency=90, cpu_time=5, cpu_time_unit="HS06sPerEvent")


def attempt(wall_time: float = 36000, events: int = 1000) -> Attempt:
    return Attempt(wall_time=wall_time, cores=4, core_power=10.0, events=events)


def test_cpu_time_per_event_is_that_of_the_attempt_and_half_as_much_again():
    assert more_cpu_time(TIMED, attempt()) == (2596, "HS06sPerEvent")


def test_small_times_are_kept_in_thousandths():
    assert more_cpu_time(TaskNeeds(base_wall_time=600, cpu_efficiency=90), attempt(events=10**6)) == (
        2596,
        "mHS06sPerEvent",
    )


@pytest.mark.parametrize(
    ("task", "tried"),
    [
        (TaskNeeds(base_wall_time=600, cpu_efficiency=90, cpu_time=2597, cpu_time_unit="HS06sPerEvent"), attempt()),
        (
            TaskNeeds(base_wall_time=600, cpu_efficiency=90, cpu_time=2597_000, cpu_time_unit="mHS06sPerEvent"),
            attempt(),
        ),
        (TaskNeeds(base_wall_time=600), attempt()),
        (TaskNeeds(cpu_efficiency=90), attempt()),
        (TIMED, attempt(events=0)),
        (TIMED, attempt(wall_time=-1)),
        (TIMED, attempt(wall_time=300)),
    ],
)
def test_cpu_time_stays_where_it_is_enough_or_nothing_is_known(task, tried):
    assert more_cpu_time(task, tried) is None


@given(st.integers(0, 10**7), st.integers(1, 1000), st.floats(0.1, 100), st.integers(1, 10**6), st.integers(1, 100))
def test_cpu_time_never_shrinks_and_always_fits_its_column(wall_time, cores, power, events, efficiency):
    task = TaskNeeds(base_wall_time=1, cpu_efficiency=efficiency, cpu_time=50, cpu_time_unit="HS06sPerEvent")
    found = more_cpu_time(task, Attempt(wall_time=wall_time, cores=cores, core_power=power, events=events))
    assert found is None or 50 <= found[0] < 2**31


# reduce_input_per_job


def less(rule: str, attempt_nr: int, **how) -> str | None:
    return less_input(rule, attempt_nr, 12, 30, **{"excluded": None, "steps": None, **how})


@pytest.mark.parametrize(
    ("attempt_nr", "expected"),
    [
        (1, None),
        (2, "RM=NG:12|MF:30,NG=6,MF=15"),
        (3, "RM=NG:12|MF:30,NG=6,MF=15"),
        (4, "RM=NG:12|MF:30,NG=3,MF=7"),
        (6, "RM=NG:12|MF:30,NG=3,MF=7"),
        (7, "RM=NG:12|MF:30,NG=1,MF=1"),
    ],
)
def test_input_is_halved_from_the_second_quartered_from_the_fourth_and_one_from_the_seventh_attempt(
    attempt_nr, expected
):
    assert less("", attempt_nr) == expected


def test_what_the_task_had_first_is_what_is_divided_not_what_was_left_of_it():
    first = less("US=1,NG=40,MF=20", 2)
    assert first == "US=1,RM=NG:40|MF:20,NG=20,MF=10"
    assert less(first, 3) is None
    assert less(first, 4) == "US=1,RM=NG:40|MF:20,NG=10,MF=5"


@pytest.mark.parametrize("rule", ["NE=100", "NF=5", "US=1,NF=5"])
def test_a_task_with_a_number_of_events_or_files_of_its_own_keeps_it(rule):
    assert less(rule, 9) is None


def test_which_rules_of_a_task_forbid_it_can_be_given():
    assert less("NF=5", 2, excluded="nGBPerJob") is not None
    assert less("NG=5", 2, excluded="nGBPerJob") is None


@pytest.mark.parametrize(("attempt_nr", "files"), [(0, None), (1, 15), (2, 7), (3, 1)])
def test_the_steps_can_be_given(attempt_nr, files):
    found = less("", attempt_nr, steps="1,2,3")
    assert (None if found is None else rule_value(found, "MF")) == (None if files is None else str(files))


def test_a_split_rule_that_no_column_holds_is_not_written():
    assert less("XX=" + "x" * 190, 2) is None


def test_a_job_reads_at_least_one_file_and_one_gigabyte():
    assert less_input("", 2, 1, 1, excluded=None, steps=None) == "RM=NG:1|MF:1,NG=1,MF=1"


@given(st.integers(0, 40), st.integers(1, 10**4), st.integers(1, 10**4))
def test_the_same_attempt_twice_changes_nothing_more(attempt_nr, gigabytes, n_files):
    once = less_input("", attempt_nr, gigabytes, n_files, excluded=None, steps=None)
    if once is not None:
        assert less_input(once, attempt_nr, gigabytes, n_files, excluded=None, steps=None) is None
        assert 1 <= int(rule_value(once, "MF") or 0) <= n_files


@pytest.mark.parametrize(("size", "gigabytes"), [(0, 0), (1, 1), (2**30, 1), (2**30 + 1, 2)])
def test_gigabytes_are_rounded_up(size, gigabytes):
    assert gigabytes_of(size) == gigabytes


def test_a_split_rule_keeps_its_other_parts():
    assert with_rule("US=1,NG=5,RX=2", "NG", 3) == "US=1,RX=2,NG=3"
    assert with_rule("", "NG", 3) == "NG=3"
    assert rule_value("US=1,NG=5", "NG") == "5"
    assert rule_value("US=1", "NG") is None
