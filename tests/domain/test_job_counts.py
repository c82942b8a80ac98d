"""Numbers of jobs as those who ask want them told apart (reference/wire.md 4, 5.1)."""

from __future__ import annotations

from typing import Any

from pandatx.domain import job_counts
from pandatx.domain.job_counts import Count
from pandatx.domain.shares import ShareRow, tree_of


def count(**values: Any) -> Count:
    usual = {"site": "A", "status": "running", "label": "user", "resource_type": "SCORE", "share": "User", "n": 1}
    return Count(**{**usual, "cloud": "DE", "processing_type": "prun", **values})


def test_jobs_by_queue_have_three_statuses_always_and_no_merging() -> None:
    counts = [count(n=2), count(n=3, label="managed"), count(status="merging"), count(site=None), count(site="B")]
    assert job_counts.by_site(counts) == {
        "A": {"assigned": 0, "activated": 0, "running": 5},
        "B": {"assigned": 0, "activated": 0, "running": 1},
    }
    assert job_counts.by_site([]) == {}


def test_jobs_by_queue_resource_type_and_label() -> None:
    counts = [count(n=2), count(label="managed"), count(resource_type=None, status="sent", label=None)]
    always = {"assigned": 0, "activated": 0}
    assert job_counts.by_site_type_and_label(counts) == {
        "A": {
            "SCORE": {"user": {**always, "running": 2}, "managed": {**always, "running": 1}},
            "Undefined": {"Undefined": {**always, "running": 0, "sent": 1}},
        }
    }


def test_jobs_by_queue_and_resource_type_have_their_ends() -> None:
    found = job_counts.by_site_and_type([count(), count(status="finished", n=4), count(status="closed")])
    assert found == {
        "A": {"SCORE": {"assigned": 0, "activated": 0, "running": 1, "finished": 4, "failed": 0, "closed": 1}}
    }


def test_jobs_by_the_label_of_their_share() -> None:
    labels = job_counts.labels_of_shares(
        tree_of([ShareRow(name="User", value=1, prodsourcelabel="user|panda"), ShareRow(name="Any", value=1)])
    )
    assert labels == {"User": "user", "Any": "unknown"}
    counts = [count(), count(share=None), count(share="Any", n=2)]
    found = job_counts.by_site_share_and_type(counts, lambda share: labels.get(share or "", "unknown"))
    assert {label: rest["SCORE"]["running"] for label, rest in found["A"].items()} == {"user": 1, "unknown": 3}


def test_production_and_analysis_are_told_apart_by_label() -> None:
    counts = [count(), count(label="panda"), count(label="managed", n=5), count(label="rc_test", n=7), count(label="x")]
    assert job_counts.by_cloud(counts, "analysis", lambda each: "DE") == {"DE": {"running": 2}}
    assert job_counts.by_cloud(counts, "production", lambda each: "DE") == {"DE": {"running": 12}}
    found = job_counts.by_cloud_and_processing(
        [*counts, count(label="managed", processing_type=None)], lambda each: each.cloud or ""
    )
    assert found == {"DE": {"prun": {"running": 12}, "Undefined": {"running": 1}}}
