"""Lines and frames put together from any pieces."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pandatx.workers.lines import LONGEST_LINE, Lines
from pandatx.workers.protocol import Frames, frame, mark


class Said:
    """A writer that takes all, or while it is ``full`` nothing."""

    def __init__(self, lines):
        self.lines = lines
        self.full = False
        self.skipped = [0, 0]

    def __call__(self, lines):
        self.lines.extend(lines)

    def skip(self, lines, size):
        self.skipped[0] += lines
        self.skipped[1] += size


def pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    return [content[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.text(max_size=30), max_size=5), st.lists(st.integers(0, 200), max_size=8))
def test_messages_come_whole_however_the_pipe_cuts_them(messages, cuts):
    frames = Frames()
    stream = b"".join(frame(message) for message in messages)
    assert [message for piece in pieces(stream, cuts) for message in frames.feed(piece)] == messages


@given(
    st.lists(st.integers(1, 3 * LONGEST_LINE), max_size=3),
    st.booleans(),
    st.lists(st.integers(0, 70000), max_size=8),
)
def test_the_mark_parts_the_output_of_two_calls_however_the_pipe_cuts_it(lengths, ends, cuts):
    said: list[str] = []
    lines = Lines(Said(said))
    lines.expect(mark(1))
    text = "\n".join("x" * length for length in lengths) + ("\n" if ends else "")
    for piece in pieces(text.encode() + mark(1), cuts):
        lines.feed(piece)
    assert lines.ended
    assert "".join(said) == text.replace("\n", "")
    said.clear()
    lines.feed(b"later\n")
    assert said == ["later"]


def test_a_last_line_without_an_end_is_written_when_the_stream_closes():
    said: list[str] = []
    lines = Lines(Said(said))
    lines.feed(b"whole\nhalf")
    assert said == ["whole"]
    lines.close()
    assert said == ["whole", "half"]


@given(st.lists(st.integers(1, 3 * LONGEST_LINE), min_size=1, max_size=5), st.lists(st.integers(0, 70000), max_size=8))
def test_a_full_writer_is_only_told_how_much_there_was_and_the_mark_is_found_all_the_same(lengths, cuts):
    writer = Said([])
    writer.full = True
    lines = Lines(writer)
    lines.expect(mark(7))
    text = "".join("x" * length + "\n" for length in lengths).encode()
    for piece in pieces(text + mark(7), cuts):
        lines.feed(piece)
    assert lines.ended
    assert len("".join(writer.lines)) + writer.skipped[1] >= sum(lengths)
    writer.full = False
    writer.lines.clear()
    lines.feed(b"later\n")
    assert writer.lines == ["later"]
