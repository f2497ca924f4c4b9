import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_command import ABC, HEADER, PASSED_OVER, parse_rows, score, start

from skiqa.cli._outputs import WITH_BOUNDS, TableOutput, from_spreadsheet, to_spreadsheet
from skiqa.distributed import Row


def test_flags_in_a_table(capsys):
    table = TableOutput()
    table.add(Row("a.jpg", 1.0, None, ("tiny", "unlike")))
    table.close()
    assert "1.0  a.jpg  tiny; unlike" in capsys.readouterr().out


def test_intervals_in_a_table(capsys):
    table = TableOutput(columns=WITH_BOUNDS)
    table.add(Row("a.jpg", 50.25, None, (), 40.5, 60.0))
    table.add(Row("b.jpg", None, "torn"))
    table.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["score", "low", "high", "file"],
        ["50.2", "40.5", "60.0", "a.jpg"],
        ["-", "-", "-", "b.jpg", "torn"],
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''@", "'", "a=1"])
def test_cells_that_are_no_formulas(name):
    cell = to_spreadsheet(name)
    assert not cell.startswith(tuple("=+-@\t\r"))
    assert from_spreadsheet(cell) == name


@given(st.text("'=+-@\t\rab", max_size=6))
def test_cells_read_back_are_the_texts(text):
    assert from_spreadsheet(to_spreadsheet(text)) == text


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_names_like_formulas_in_a_file():
    names = ["=cmd.jpg", "'=cmd.jpg", "+1.jpg", "@a.jpg", "\ta.jpg", "'plain.jpg", "--x.jpg"]
    for name in names:
        Path(name).write_bytes(b"x")
    score("--csv", "s.csv", "--", *names)
    before = Path("s.csv").read_bytes()
    assert b"\n'=cmd.jpg,1.5,,\n''=cmd.jpg,1.5,,\n'+1.jpg,1.5,,\n" in before
    score("--csv", "s.csv", "--resume", "--", *names)
    assert Path("s.csv").read_bytes() == before  # all known again


def _on_terminal(*arguments):
    """Run with a terminal for both outputs; return what it showed, and the status."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = start(*arguments, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()), process.wait(30)


def test_terminal_shows_a_table_worst_first(few_files):
    Path("photos/bad\x1b[2J.jpg").write_bytes(b"x")
    shown, status = _on_terminal("photos")
    assert status == 1
    table = shown[shown.rindex("score  file") :]
    order = [table.index(name) for name in ("b.PNG", "c.webp", "a.jpg", "bad")]
    assert order == sorted(order)
    assert "the file is torn" in table
    assert "\\x1b[2J" in table  # a name cannot command the terminal
    assert "Scores are about 0 (bad) to 100 (excellent); higher is better." in shown
    assert "4/4" in shown  # the bar
    assert "images/s" in shown


def test_terminal_with_rows_shows_no_bar(few_files):
    shown, status = _on_terminal("photos", "--csv", "-")
    assert status == 0
    assert parse_rows(shown.replace("\r\n", "\n")) == [
        (PASSED_OVER.decode().strip(),),
        HEADER,
        *ABC,
    ]
