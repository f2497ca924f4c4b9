import json
import os
import signal
import time
from pathlib import Path

import pytest
from scoring_command import ABC, HEADER, PASSED_OVER, parse_rows, score, start, wait_for_rows

import skiqa.persistence


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--csv", "/dev/full"], ["--sort"]])
def test_full_disk(few_files, options):
    with open("/dev/full", "w") as full:
        process = start("photos", *options, stdout=full)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    where = b"/dev/full" if "--csv" in options else b"the output"
    why = b"Error: cannot write " + where + b": No space left on device\n"
    assert stderr == PASSED_OVER + why


def test_full_disk_keeps_the_rows_before(few_files):
    resource = pytest.importorskip("resource")
    for k in range(100):
        Path(f"photos/x{k}.jpg").write_bytes(b"x")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))}
    process = start("photos", "--csv", "s.csv", **limit)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert stderr == PASSED_OVER + b"Error: cannot write s.csv: File too large\n"
    kept = Path("s.csv").read_bytes()
    assert kept.endswith(b",1.5,,\n")  # no torn row
    assert len(kept) > 960
    _score_in_process("--resume")
    assert Path("s.csv").read_bytes().startswith(kept)
    assert len(parse_rows(Path("s.csv").read_text())) == 1 + 103


def _score_in_process(*options):
    process = start("photos", "--csv", "s.csv", *options)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows ends processes without telling them")
@pytest.mark.parametrize("n_before", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_closes_the_list(few_files, how, n_before):
    Path("photos/0-slow.jpg" if n_before == 0 else "photos/c-slow.jpg").write_bytes(b"x")
    before = signal.signal(how, signal.SIG_DFL)  # under nohup it is ignored, and so by children
    process = start("photos", "--json")
    signal.signal(how, before)
    shown = process.stdout.read(1)
    while shown.count(b"}") < n_before:
        shown += process.stdout.read(1)
    time.sleep(0.1)
    process.send_signal(how)
    rest, stderr = process.communicate(timeout=30)
    assert len(json.loads(shown + rest)) == n_before
    assert stderr.endswith(b"interrupted after %d of 4 files\n" % n_before)
    assert process.returncode == 128 + how


def test_told_to_end_while_the_model_is_loaded(fake_scorer, few_files, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(skiqa.persistence, "load_model", interrupted)
    assert json.loads(score("photos", "--json", status=130).stdout) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_keeps_its_rows(few_files, how):
    Path("photos/c-slow.jpg").write_bytes(b"x")
    process = start("photos", "--csv", "s.csv")
    wait_for_rows(Path("s.csv"), 3)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=30)
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        interrupted = b"interrupted after 2 of 4 files; --resume goes on from there\n"
        assert stderr == PASSED_OVER + interrupted
    Path("photos/c-slow.jpg").unlink()
    process = start("photos", "--csv", "s.csv", "--resume")
    assert process.communicate(timeout=30) == (b"", PASSED_OVER)
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC]


def test_reader_that_goes_away(few_files):
    for k in range(3000):
        Path(f"photos/{k}.jpg").write_bytes(b"x")
    process = start("photos")
    assert process.stdout.readline() == b"file,score,error,flags\n"
    process.stdout.close()
    assert process.stderr.read() == PASSED_OVER
    process.stderr.close()
    assert process.wait(30) == 141
