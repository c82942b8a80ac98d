"""The directories of the spool, made and adopted by several processes at once (rule R4)."""

from __future__ import annotations

import threading

from pandatx.store import spool


def test_a_new_directory_is_held_from_the_moment_others_can_see_it(tmp_path):
    """Another process looks for what dead ones left the whole time, and lets go of what is empty."""
    root, over, faults = tmp_path / "spool", threading.Event(), []

    def adopt():
        try:
            while not over.is_set():
                for found in spool.abandoned(root, root / "theirs"):
                    found.release()
        except Exception as fault:
            faults.append(fault)

    root.mkdir()
    adopters = [threading.Thread(target=adopt) for _ in range(3)]
    for adopter in adopters:
        adopter.start()
    try:
        for number in range(400):
            ours = spool.new(root / f"ours-{number}")
            ours.append([b"{}"])
            assert [path.name for path in ours.segments()] == []
            ours.end_segment()
            ours.remove(*ours.segments())
            ours.release()
    finally:
        over.set()
        for adopter in adopters:
            adopter.join()
    assert faults == []
    assert list(root.iterdir()) == []


def test_a_directory_that_is_held_is_nobody_elses_to_make(tmp_path):
    held = spool.new(tmp_path / "one")
    try:
        spool.new(tmp_path / "one")
    except OSError as refusal:
        assert "one" in str(refusal)
    else:
        raise AssertionError("it was made twice")
    assert spool.claim(tmp_path / "one") is None
    held.append([b"{}"])
    held.end_segment()
    held.release()
    assert spool.claim(tmp_path / "one").size > 0
