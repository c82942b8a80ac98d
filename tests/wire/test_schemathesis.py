"""Requests that schemathesis generates from the API document, by callers of each kind: no answer is our fault, none is
outside the document, what does not fit is refused and what fits is read, and a refused call has written no row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import requests
from generated import HOST, Counters, Door, judge, loaded, prepared
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from real import Real, real_site
from schemathesis import GenerationMode
from server import Tables
from sites import ANYBODY, PILOT, PRODUCTION, USER
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from pandatx.cli.api import described_api
from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.store.database import Database

CALLERS = {"production": PRODUCTION, "user": USER, "pilot": PILOT, "nobody": ANYBODY}
EXAMPLES, ALL_EXAMPLES = 6, 10_000
OPERATIONS = {each.ok().label: each.ok() for each in loaded(described_api()).get_all_operations()}


@pytest_twisted.async_yield_fixture(scope="module")
async def site(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Real, Database]]:
    """The served tree over a database with one session."""
    database = Database(name="one", conninfo=shared_dsn, clock=Clock(reactor), schemas=Schemas(), size=1, hot=True)
    database.start()
    async for real in real_site(Path(tmp_path_factory.mktemp("generated")), database):
        tables = Tables(real.dsn)
        tables.activate(20)
        tables.close()
        yield real, database
    await database.stop()


@pytest.fixture(scope="module")
def door(site: tuple[Real, Database]) -> Door:
    return Door(site[0])


@pytest.fixture(scope="module")
def counters(site: tuple[Real, Database]) -> Iterator[Counters]:
    found = Counters(*site)
    yield found
    found.close()


def run(label: str, examples: int, door: Door, counters: Counters) -> None:
    """Generate requests for an operation, good ones and bad ones, and send each as some caller."""
    operation = OPERATIONS[label]
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query:
        modes.append(GenerationMode.NEGATIVE)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, st.sampled_from(sorted(CALLERS)))
    def every(case: Any, who: str) -> None:
        door.real.caller = CALLERS[who]
        before = counters.read()
        response = door.send(prepared(case))
        found = judge(case, response)
        if found.refused:
            after = counters.read()
            changed = {name for name in after if after[name] != before[name]}
            assert changed == set(), (who, case.as_curl_command(), response.content)

    every()


@pytest.mark.parametrize("label", list(OPERATIONS))
async def test_generated_requests_are_answered_as_the_document_says(label: str, door: Door, counters: Counters) -> None:
    await deferToThread(run, label, EXAMPLES, door, counters)


@pytest.mark.long
@pytest.mark.parametrize("label", list(OPERATIONS))
async def test_ten_thousand_requests_are_answered_as_the_document_says(
    label: str, door: Door, counters: Counters
) -> None:
    await deferToThread(run, label, ALL_EXAMPLES // len(OPERATIONS) + 1, door, counters)


async def test_a_call_that_writes_a_row_is_seen_to_have_done_so(door: Door, counters: Counters) -> None:
    """Else the tests above would see nothing of a refused call that writes."""

    def write() -> set[str]:
        door.real.caller = PILOT
        before = counters.read()
        node = {"site": "S", "host_name": "h", "cpu_model": "c"}
        request = requests.Request("POST", f"{HOST}/api/v1/pilot/update_worker_node", json=node).prepare()
        assert door.send(request).content.startswith(b'{"success":true')
        after = counters.read()
        return {name for name in after if after[name] != before[name]}

    assert "doma_panda.worker_node" in await deferToThread(write)
