"""The table of HS23 scores."""

from datetime import UTC, datetime

import pytest

from pandatx.domain.benchmarks import Score, scores
from pandatx.domain.dumps import UnreadableDump

HEAD = "CPU,SMT enabled,# Sockets,Cores/Socket,Ncores,Site,Score/Ncores,last_date,extra\n"
ROW = "Intel(R) Xeon(R) CPU E5-2680 @ 2.40GHz,{smt},2,14,56,CERN,{score},{at},x\n"


def table(smt="True", score="11.5", at="2026-01-02 03:04:05") -> bytes:
    return (HEAD + ROW.format(smt=smt, score=score, at=at)).encode()


def test_a_row_is_read():
    (found,) = scores(table())
    assert found == Score(
        cpu="Intel(R) Xeon(R) CPU E5-2680 @ 2.40GHz",
        model="Intel Xeon E5-2680",
        smt=1,
        sockets=2,
        cores_per_socket=14,
        cores=56,
        site="CERN",
        score=11.5,
        at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("text", "smt"),
    [("1", 1), ("true", 1), ("Yes", 1), ("on", 1), ("0", 0), ("False", 0), ("off", 0), ("", 0), ("?", 0)],
)
def test_threading_is_a_flag(text, smt):
    assert scores(table(smt=text))[0].smt == smt


@pytest.mark.parametrize("bad", [{"score": ""}, {"score": "nan"}, {"score": "-1"}, {"at": ""}, {"at": "yesterday"}])
def test_a_row_that_is_not_whole_is_left_out(bad):
    assert scores(table(**bad)) == []


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"CPU,Site\nx,y\n", b"\xff\xfe"])
def test_what_is_no_such_table_is_unreadable(content):
    with pytest.raises(UnreadableDump):
        scores(content)
