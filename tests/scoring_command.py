"""`skiqa score` with a stand-in for the model, in this process or in one of its own."""

import csv
import io
import subprocess
import sys
import time

from click.testing import CliRunner

from skiqa.cli import main

# A scorer that gives the length of the file, its interval being the level more and less; "bad" in a
# name makes it unreadable. It takes the place of the two functions of skiqa.persistence that the
# command calls, without a network.
FAKE = """
import os, sys, time, types
from skiqa.exceptions import ImageError

def load_model(path=None):
    calibration = {"n": 9, "errors": [1.0] * 180, "unlike_above": 1.0}
    return [types.SimpleNamespace(card_={"interval": calibration})]

def iter_quality(model, X, *, n_jobs=None, interval=None):
    nothing = None if interval is None else (float("nan"), float("nan"))
    for index, file in enumerate(X):
        if "slow" in file:
            time.sleep(60)
        if "bad" in file:
            remedy = "remove it from X, or pass on_error='nan' to get a row of NaN"
            error = ImageError(f"X[{index}] = {file!r}: torn; {remedy}", reason="the file is torn")
            yield index, float("nan"), error, (), nothing
        elif "nan" in file:
            yield index, float("nan"), None, (), nothing
        else:
            flags = ("blank", "unlike") if "odd" in file else ()
            score = os.path.getsize(file) + 0.5
            bounds = None if interval is None else (score - interval, score + interval)
            yield index, score, None, flags, bounds
"""
COMMAND = [
    sys.executable,
    "-c",
    FAKE
    + """
stand_in = types.ModuleType("skiqa.persistence")
stand_in.load_model, stand_in.iter_quality = load_model, iter_quality
sys.modules[stand_in.__name__] = stand_in
from skiqa.cli import main
main(prog_name="skiqa")
""",
]
HEADER = ("file", "score", "error", "flags")
PASSED_OVER = b"Passed over: 1 .txt; 1 image below: -r\n"
ABC = [
    ("photos/a.jpg", "3.5", "", ""),
    ("photos/b.PNG", "1.5", "", ""),
    ("photos/c.webp", "2.5", "", ""),
]
D = ("photos/below/d.jpg", "4.5", "", "")


def score(*arguments, status=0, **kwargs):
    result = CliRunner().invoke(main, ["score", *map(str, arguments)], **kwargs)
    assert result.exit_code == status, result.output
    return result


def parse_rows(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]


def start(*arguments, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    return subprocess.Popen([*COMMAND, "score", *arguments], **pipes)


def wait_for_rows(path, count):
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} rows")
