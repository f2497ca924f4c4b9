"""Progress in a log: a line each half minute, and nothing for what is done before."""

import pytest

from skiqa import _progress
from skiqa._progress import progress_bar


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_in_a_log(clock, capsys):
    with progress_bar("scoring", 1000, enabled=True) as advance:
        for _ in range(100):
            clock[0] += 1
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "scoring: 30 of 1000 images, 1.0 images/s, 16.2 min left"
    assert lines[2].startswith("scoring: 90 of 1000 images")


def test_a_note_is_shown_and_nothing_done_divides_by_nothing(clock, capsys):
    with progress_bar("Training", 10, enabled=True, unit="steps") as advance:
        clock[0] += 31
        advance(0, note="loss 3.1")
    line = "Training: 0 of 10 steps, 0.0 steps/s, nothing done yet, loss 3.1\n"
    assert capsys.readouterr().err == line


def test_what_is_quick_leaves_no_trace(capsys):
    for enabled in (True, False):
        with progress_bar("scoring", 2, enabled=enabled) as advance:
            advance(2)
    assert capsys.readouterr() == ("", "")
