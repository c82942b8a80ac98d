"""Worker nodes as pilots describe them."""

import pytest

from pandatx.domain.nodes import bare_host, node_of, normal_cpu_model
from pandatx.domain.requests import WorkerNode, WorkerNodeGpu


@pytest.mark.parametrize(("told", "host"), [("slot1_2@host.ch", "host.ch"), ("host.ch", "host.ch"), ("a@b@c", "c")])
def test_the_batch_slot_is_no_part_of_the_host(told, host):
    assert bare_host(told) == host


@pytest.mark.parametrize(
    ("told", "model"),
    [
        ("Intel(R) Xeon(R) CPU E5-2630 v3 @ 2.40GHz", "Intel Xeon E5-2630 v3"),
        ("AMD EPYC 7B12", "AMD EPYC 7B12"),
        ("AMD EPYC 7702 64-Core Processor", "AMD EPYC 7702"),
    ],
)
def test_a_model_has_one_name_everywhere(told, model):
    assert normal_cpu_model(told) == model


def test_a_block_of_a_job_report_becomes_a_record_without_what_is_wrong_in_it():
    block = {"site": "S", "host_name": "h", "cpu_model": "m" * 200, "n_sockets": "two", "clock_speed": 2000, "x": 1}
    node = node_of(WorkerNode, block)
    assert node == WorkerNode(site="S", host_name="h", cpu_model="m" * 128, clock_speed=2000.0)


def test_a_block_without_what_is_needed_is_none():
    assert node_of(WorkerNode, {"site": "S", "host_name": "h"}) is None
    assert node_of(WorkerNodeGpu, {"site": "S", "host_name": "h", "vendor": "v", "model": "m", "count": "1"}) is None
    assert node_of(WorkerNodeGpu, {"site": "S", "host_name": "h", "vendor": "v", "model": "m", "count": 2**31}) is None
