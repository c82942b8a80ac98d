"""What brokers of JEDI read of shares, queues, users and tasks."""

import pytest

from pandatx.domain import metric_names as names
from pandatx.domain.quantiles import quantile, student_below, student_quantile, weighted
from pandatx.domain.share_metrics import NONE_PLEDGED, Use, gshare_preference
from pandatx.domain.shares import ShareRow, tree_of
from pandatx.domain.site_metrics import LongQueue, Wait, site_classes, wait_statistics, with_long_queue
from pandatx.domain.task_evaluation import Boost, Progress, evaluate
from pandatx.domain.user_metrics import Thresholds, UserJobs, user_evaluation, users_jobs_stats


@pytest.mark.parametrize(
    ("metric", "lock"),
    [
        (names.GSHARE_PREFERENCE, "pandaMetr.gshare_preferenc.3f0e06f9"),
        (names.WAIT_TIMES, "pandaMetr.analy_pmerge_job.9bb40b24"),
        (names.TASKS, "pandaTaskEval.analy_task_eval.316a062f"),
    ],
)
def test_a_lock_is_spelt_as_older_servers_spell_it(metric, lock):
    assert metric.lock == lock
    assert len(metric.lock) <= 56


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 6.3138), (2, 2.9200), (5, 2.0150), (30, 1.6973), (120, 1.6577), (1e6, 1.6449)]
)
def test_the_quantiles_of_students_t_are_those_of_the_tables(degrees, value):
    assert student_quantile(0.95, degrees) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("degrees", [0.2, 0.5, 3.7, 250.5])
def test_a_quantile_is_where_so_much_is_below(degrees):
    assert student_below(student_quantile(0.9, degrees), degrees) == pytest.approx(0.9, abs=1e-9)


def test_quantiles_of_a_sample_lie_between_its_values():
    assert [quantile([4, 1, 2, 3], part) for part in (0, 0.5, 1, 0.25)] == [1, 2.5, 4, 1.75]
    assert quantile([7], 0.333) == 7
    assert quantile([], 0.5) is None


def test_a_weighted_mean_follows_its_weights():
    assert weighted([0, 10], [1, 3]) == (7.5, pytest.approx(18.75**0.5))


TREE = tree_of(
    [
        ShareRow(name="Production", value=70),
        ShareRow(name="Analysis", value=30),
        ShareRow(name="User Analysis", value=80, parent="Analysis"),
        ShareRow(name="Express Analysis", value=20, parent="Analysis"),
    ]
)


def test_a_share_stands_against_its_part_of_all_that_runs():
    use = {"Production": Use(running=900, queuing=100), "User Analysis": Use(running=100, queuing=480)}
    found = gshare_preference(TREE, {"Express Analysis": 1, "User Analysis": 2, "Production": 3}, use)
    user = found["User Analysis"]
    assert (user["rank"], user["running_hs"], user["queuing_hs"]) == (2, 100, 480)
    assert user["target_hs"] == pytest.approx(240)
    assert (user["usage_perc"], user["queue_perc"]) == (pytest.approx(100 / 240), pytest.approx(2))
    assert user["norm_usage_perc"] == pytest.approx(0.1)
    assert found["Express Analysis"]["rank"] == 1


def test_what_idle_top_shares_leave_is_lent_to_the_busy_ones():
    use = {"Production": Use(running=900, queuing=100), "User Analysis": Use(running=100)}
    found = gshare_preference(TREE, {}, use)
    idle, busy = found["L1 Analysis"], found["L1 Production"]
    assert (idle["rank"], idle["target_hs"], idle["proj_target_hs"]) == (-1, pytest.approx(300), 100)
    assert idle["eqiv_target_hs"] == pytest.approx(300)
    assert busy["eqiv_target_hs"] == pytest.approx(700 + 200 * 700 / 701)
    assert busy["eqiv_usage_perc"] == pytest.approx(900 / busy["eqiv_target_hs"])


def test_shares_without_anything_running_are_no_fault():
    found = gshare_preference(TREE, {}, {})
    assert found["Production"]["usage_perc"] == NONE_PLEDGED
    assert found["L1 Production"]["eqiv_usage_perc"] == NONE_PLEDGED


def test_waits_count_half_for_each_twelve_hours_since():
    found = wait_statistics([Wait(waited=100, age=0), Wait(waited=400, age=43200)])
    assert (found["n"], found["mean"], found["stdev"], found["med"]) == (2, 250, 150, 250)
    assert (found["sum_of_weights"], found["w_mean"]) == (1.5, pytest.approx(200))
    assert found["cl95upp"] == pytest.approx(250 + 150 * 6.31375, rel=1e-4)
    assert found["w_cl95upp"] == pytest.approx(200 + found["w_stdev"] * student_quantile(0.95, 1.5))


def test_one_wait_tells_no_upper_limit_and_a_huge_one_is_cut():
    assert wait_statistics([Wait(waited=100, age=0)])["w_cl95upp"] is None
    assert wait_statistics([Wait(waited=0, age=9e5), Wait(waited=9e5, age=9e5)])["w_cl95upp"] == 999999


def test_jobs_that_wait_longer_than_the_mean_are_told_of():
    found = wait_statistics([Wait(waited=100, age=0)])
    assert with_long_queue(found, LongQueue(number=3, mean=500.0))["long_q_mean"] == 500
    assert with_long_queue(found, None) | {"long_q_n": 0, "long_q_mean": 100} == with_long_queue(found, None)
    at_once = wait_statistics([Wait(waited=0, age=0)])
    assert with_long_queue(at_once, LongQueue(number=3, mean=500.0))["long_q_mean"] is None


def waits(upper, long_mean, long_n=0) -> dict:
    return {"w_cl95upp": upper, "long_q_mean": long_mean, "long_q_n": long_n}


@pytest.mark.parametrize(
    ("found", "day", "its_class"),
    [
        (waits(3000, 3600), 1.0, 1),
        (waits(3000, 3600), 0.0, 0),
        (waits(3600, 5000, 3), 1.0, 1),
        (waits(3600, 5000, 4), 1.0, 0),
        (waits(4000, 10800), 1.0, 0),
        (waits(4000, 10801), 1.0, -1),
    ],
)
def test_a_queue_is_classed_by_how_long_jobs_wait(found, day, its_class):
    """Below the thirds of the grid's queues, one hour and three hours are the borders."""
    classes = site_classes({"Q": found}, {}, {"Q": (2.0, day)})
    assert classes["Q"] == {"resource_type": None, "strr_6h": 2.0, "strr_1d": day, "class": its_class}


def test_the_borders_are_the_thirds_of_the_grids_queues_where_those_wait_longer():
    many = {f"Q{n}": waits(n * 10_000, 0) for n in range(1, 11)} | {"cloud": waits(1e6, 0), "new": waits(None, None)}
    types = dict.fromkeys(many, "GRID") | {"cloud": "cloud"}
    classes = site_classes(many, types, dict.fromkeys(many, (1.0, 1.0)))
    assert [classes[f"Q{n}"]["class"] for n in range(1, 11)] == [1, 1, 1, 0, 0, 0, 0, -1, -1, -1]
    assert "new" not in classes


def jobs(user, status, number, cores, site="Q", share="User Analysis") -> UserJobs:
    return UserJobs(site=site, share=share, user=user, status=status, number=number, cores=cores)


def test_jobs_of_users_are_counted_by_queue_and_share_and_of_all_users():
    found = users_jobs_stats(
        [
            jobs("a", "running", 2, 16),
            jobs("a", "activated", 3, 3),
            jobs("b", "starting", 1, 8),
            jobs("b", "holding", 9, 9),
        ]
    )[("Q", "User Analysis")]
    assert (found["a"]["nRunning"], found["a"]["slotsRunning"], found["a"]["nQueue"], found["a"]["nActivated"]) == (
        2,
        16,
        3,
        3,
    )
    assert (found["_total"]["nQueue"], found["_total"]["slotsQueue"], found["_total"]["nStarting"]) == (4, 11, 1)
    assert (found["b"]["nRunning"], found["b"]["slotsStarting"]) == (0, 8)


def test_what_a_user_runs_on_good_sites_is_taken_off_the_thresholds():
    stats = users_jobs_stats(
        [
            jobs("u", "running", 3, 300, "A"), jobs("u", "running", 3, 500, "B"), jobs("u", "activated", 2, 2, "C"),
            jobs("u", "running", 9, 9000, "cloud"), jobs("u", "running", 9, 9000, "A", share="Production"),
            jobs("u", "running", 9, 9000, "unknown"),
        ]
    )  # fmt: skip
    classes = {
        "A": {"class": 1, "resource_type": "GRID"}, "B": {"class": 0, "resource_type": "GRID"},
        "C": {"class": -1, "resource_type": "GRID"}, "cloud": {"class": 1, "resource_type": "cloud"},
    }  # fmt: skip
    (user,) = user_evaluation(stats, classes, Thresholds()).values()
    assert (user["user"], user["A_sites"]["slotsRunning"], user["C_sites"]["nQueue"]) == ("u", 300, 2)
    assert (user["rem_slots_A"], user["rem_slots_B"]) == (700, 7200)
    assert (user["rem_slot_ratio_A"], user["rem_slot_ratio_B"]) == (0.7, 0.9)
    tight = user_evaluation(stats, classes, Thresholds(a=200, b=0))["u"]
    assert (tight["rem_slots_A"], tight["rem_slots_B"], tight["rem_slot_ratio_B"]) == (0, 0, 0.0)


USERS = {
    "free": {"rem_slots_A": 1, "rem_slots_B": 1},
    "busy": {"rem_slots_A": 0, "rem_slots_B": 1},
    "full": {"rem_slots_A": 0, "rem_slots_B": 0},
}


@pytest.mark.parametrize(
    ("user", "share", "finished", "jobs", "its_class"),
    [
        ("full", "Express Analysis", 0, 0, 2),
        ("free", "User Analysis", 0, 0, 1),
        ("busy", "User Analysis", 0, 0, 0),
        ("full", "User Analysis", 99, 10, -1),
        ("free", "User Analysis", 89, 10, 1),
        ("free", "User Analysis", 90, 10, 2),
        ("free", "User Analysis", 90, 5000, 2),
        ("free", "User Analysis", 90, 5010, 1),
        ("free", "User Analysis", 100, 10, 1),
        ("busy", "User Analysis", 94, 10, 0),
        ("busy", "User Analysis", 95, 10, 0),
        ("busy", "User Analysis", 95, 20, 2),
        ("busy", "User Analysis", 95, 4000, 2),
        ("busy", "User Analysis", 95, 4020, 0),
    ],
)
def test_a_task_has_the_class_of_its_user_and_is_helped_at_its_end(user, share, finished, jobs, its_class):
    task = Progress(task_id=1, user=user, share=share, files=100, finished=finished, jobs=jobs)
    assert evaluate(task, USERS, Boost())["class"] == its_class


def test_a_task_of_a_user_who_is_not_evaluated_is_not_either():
    assert evaluate(Progress(task_id=1, user="new", share="User Analysis"), USERS, Boost()) is None


def test_what_is_kept_of_a_task():
    task = Progress(task_id=7, user="free", share="User Analysis", files=200, finished=50, failed=20, jobs=40)
    assert evaluate(task, USERS, Boost()) == {
        "task_id": 7, "user": "free", "gshare": "User Analysis", "n_files_total": 200, "n_files_finished": 50,
        "n_files_failed": 20, "pct_finished": 25.0, "pct_failed": 10.0, "class": 1,
    }  # fmt: skip
    assert task.jobs_left == 26
