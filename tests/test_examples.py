"""The examples run as they stand, each in a process of its own, and show what they promise."""

import os
import re
from pathlib import Path

import pytest
import ready_python

EXAMPLES = Path(__file__).parents[1] / "examples"

# A backend of matplotlib that draws what an example shows, and counts it.
DRAWN = """
import sys
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas
def show(*args, **options):
    for manager in Gcf.get_all_fig_managers():
        manager.canvas.draw()
        print("drawn", file=sys.stderr)
    Gcf.destroy_all()
"""

# Run before an example, and, as the module that Python imports at its start, in what that starts.
NO_NETWORK = """
import socket
def checked(connect):
    def to_this_machine(self, address):
        if address[0] != "127.0.0.1":
            raise RuntimeError(f"an example must run offline, but asks for {address}")
        return connect(self, address)
    return to_this_machine
socket.socket.connect = checked(socket.socket.connect)
socket.socket.connect_ex = checked(socket.socket.connect_ex)
"""
EXAMPLE = """
import runpy, sys, warnings
import matplotlib
warnings.filterwarnings("error", category=UserWarning)
example, start = sys.argv[1:]
del sys.argv[1:]
sys.path.insert(0, start)
matplotlib.use("module://drawn")
runpy.run_path(example, run_name="__main__")
"""


def _output_of(name, folder):
    """Run an example with user warnings as errors and without network; return what it prints."""
    start, work = folder / "start", folder / "work"
    start.mkdir()
    work.mkdir()
    (start / "sitecustomize.py").write_text(NO_NETWORK)
    (start / "drawn.py").write_text(DRAWN)
    environment = os.environ | {
        "PYTHONPATH": str(start),
        "PYTHONWARNINGS": "error::UserWarning",
        "PYTHONIOENCODING": "utf-8",
    }
    code = NO_NETWORK + EXAMPLE
    done = ready_python.run("-c", code, EXAMPLES / name, start, cwd=work, env=environment)
    assert done.returncode == 0, done.stderr
    assert not list(work.iterdir()), "it leaves files behind"
    assert done.stderr.count("drawn\n") >= 1, "it shows no picture"
    return done.stdout


def _found_numbers(pattern, text):
    return [float(number) for number in re.findall(pattern, text)]


def test_every_example_is_tested_and_says_what_one_learns():
    for path in EXAMPLES.glob("*.py"):
        assert f'_output_of("{path.name}"' in Path(__file__).read_text(encoding="utf-8")
        assert re.match(r'"""\n(.+)\n=+\n\nYou learn ', path.read_text(encoding="utf-8")), path


def test_score_a_folder(tmp_path):
    lines = _output_of("01_score_a_folder.py", tmp_path).splitlines()
    assert len(lines) == 7
    assert lines[-1].split() == ["nan", "notes.jpg"]
    scores = [float(line.split()[0]) for line in lines[:-1]]
    assert scores == sorted(scores)


def test_fit_own_ratings(tmp_path):
    out = _output_of("02_fit_own_ratings.py", tmp_path)
    (srocc,) = _found_numbers(r"SROCC (\S+)", out)
    assert srocc > 0.5  # strength of blur, on scenes the ridge has not seen


def test_pretrain_on_own_photos(tmp_path):
    out = _output_of("03_pretrain_on_own_photos.py", tmp_path)
    (plateau,) = _found_numbers(r"plateau (\S+)", out)
    losses = _found_numbers(r"loss (\S+)", out)
    assert len(losses) == 12
    assert sum(losses[-3:]) / 3 < min(losses[0], plateau) - 0.4


def test_degradations_on_a_photo(tmp_path):
    assert _output_of("06_degradations_on_a_photo.py", tmp_path) == "ndarray (427, 640, 3) uint8\n"


def test_quality_map(tmp_path):
    (score,) = _found_numbers(r"score (\S+),", out := _output_of("07_quality_map.py", tmp_path))
    (total,) = _found_numbers(r"cells (\S+)", out)
    assert abs(score - total) < 0.002


def test_response_to_degradations(tmp_path):
    lines = _output_of("08_response_to_degradations.py", tmp_path).splitlines()
    concordance = [float(line.split()[0]) for line in lines]
    assert concordance == sorted(concordance)
    assert all(0 < value < 0.9 for value in concordance)
    assert not {"gaussian_blur", "jpeg", "white_noise"} & {line.split()[1] for line in lines}


def test_dead_leaves(tmp_path):
    assert _output_of("09_dead_leaves.py", tmp_path) == ""


def test_scores_and_sizes(tmp_path):
    out = _output_of("10_scores_and_sizes.py", tmp_path)
    viewing, native = (_found_numbers(rf"{label}: (\S+) points", out) for label in ("size", "are"))
    assert len(viewing) == len(native) == 2
    assert max(viewing) < 5 < min(native)


def test_search_objectives(tmp_path):
    scores = _found_numbers(r"SROCC (\S+)", _output_of("05_search_objectives.py", tmp_path))
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_search_on_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    out = _output_of("11_search_on_a_cluster.py", tmp_path)
    alone, spread = re.findall(r"(\S+) s, penalty (.*)", out)
    assert alone[1] == spread[1]
    assert float(spread[0]) > 0


@pytest.mark.parametrize("suffix", ["joblib", "skiqa"])
def test_deploy_the_pickle(suffix, deployed):
    (difference,) = _found_numbers(rf"quality\.{suffix}: .* off by (\S+)", deployed)
    assert difference <= {"joblib": 0.0, "skiqa": 1e-6}[suffix]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    return _output_of("04_deploy_the_pickle.py", tmp_path_factory.mktemp("deploy"))
