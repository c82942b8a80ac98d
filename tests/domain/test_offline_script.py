"""The script that runs a job again by hand is one that bash reads, with the job's files and parameters."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from attrs import evolve

from pandatx.domain.job import Job, JobFile
from pandatx.domain.offline_script import NoScript, not_found, script

USERS = Job(
    panda_id=5,
    prod_source_label="user",
    transformation="http://panda.example:25080/trf/user/runGen-00-00-02",
    job_parameters="-p 'echo%20a' --x=1",
    homepackage="AnalysisTransforms",
    files=(
        JobFile(lfn="in 1.root", scope="user.me", type="input"),
        JobFile(lfn="out.root", scope="user.me", type="output"),
    ),
)
PRODUCTION = evolve(
    USERS,
    prod_source_label="managed",
    transformation="Gen_tf.py\nReco_tf.py",
    atlas_release="Atlas-21.0.1\nAtlas-22.0.2",
    homepackage="AthGeneration/21.0.1\nAthena/22.0.2",
    job_parameters="--first=1\n--second=2",
    cmt_config="x86_64-el9-gcc13-opt@x86_64",
    core_count=8,
)


def is_bash(text: str) -> bool:
    return subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_users_job_downloads_its_inputs_and_its_transformation() -> None:
    text = script(USERS)
    assert is_bash(text) and text.startswith("#!/bin/bash\n# PanDA job 5")
    assert "rucio download --no-subdir 'user.me:in 1.root'" in text and "out.root" not in text
    assert "curl -fsSLO http://panda.example:25080/trf/user/runGen-00-00-02\nchmod +x runGen-00-00-02\n" in text
    assert text.endswith("./runGen-00-00-02 -p 'echo%20a' --x=1\n\n")
    assert "asetup" not in text


def test_a_job_of_production_runs_each_step_with_its_release() -> None:
    text = script(PRODUCTION)
    assert is_bash(text) and "curl" not in text
    assert "asetup --platform=x86_64-el9-gcc13-opt AthGeneration,21.0.1\nGen_tf.py --first=1\n" in text
    assert "AthGeneration,21.0.1" in text and "Athena,22.0.2\nReco_tf.py --second=2\n" in text
    assert "export ATHENA_PROC_NUMBER=8 ATHENA_CORE_NUMBER=8\n" in text


def test_a_job_without_inputs_downloads_nothing() -> None:
    assert "rucio" not in script(evolve(USERS, files=()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"transformation": None}, "no transformation"), ({"homepackage": "one"}, "inconsistent")],
)
def test_a_job_that_cannot_be_run_again_is_said(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(NoScript, match=why):
        script(evolve(PRODUCTION, **changes))


def test_a_job_that_is_not_there_is_said() -> None:
    assert not_found(5, None) == "ERROR: Cannot get PandaID=5 in DB"
    assert not_found(5, 3).startswith("ERROR: Cannot get PandaID=5 in DB for the last 3 days. You may change &days=N")
