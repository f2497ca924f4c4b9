"""skiqa pretrain: the encoder that comes out, going on after a kill, what it refuses to do."""

import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import ready_python
from click.testing import CliRunner
from conftest import TINY
from PIL import Image

from skiqa import ContrastiveQualityEncoder
from skiqa.cli import main
from skiqa.cli._pretrain import _print_where_it_goes_on

OPTIONS = ["--backbone", TINY, "--batch-size", "4", "--view-size", "64", "--device", "cpu"]


@pytest.fixture(autouse=True)
def photos(photo_paths, tmp_path, monkeypatch):
    """Eight small crops of real photographs in the folder photos/."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for k in range(8):
        with Image.open(photo_paths[k % 2]) as photo:
            photo.crop((60 * k, 50, 60 * k + 70, 120)).save(f"photos/{k}.png")


def _pretrain(*arguments, status=0):
    result = CliRunner().invoke(main, ["pretrain", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def _network(path):
    return ContrastiveQualityEncoder(weights=path).fit(["photos/0.png"]).state_.networks[0]


def test_gives_what_fit_gives():
    output = _pretrain("photos", "--out", "a.skiqa", "--epochs", 2, *OPTIONS)
    encoder = ContrastiveQualityEncoder(
        TINY, weights=None, epochs=2, batch_size=4, view_size=64, random_state=0, device="cpu"
    ).fit([f"photos/{k}.png" for k in range(8)])
    for name, array in _network("a.skiqa").items():
        np.testing.assert_array_equal(array, encoder.state_.networks[0][name])
    for loss in encoder.loss_curve_:
        assert f"{loss:.3f}  {math.log(31) - loss:+.3f}" in output
    assert "2 epochs of 8 images" in output
    assert not Path("a.skiqa.training").exists()


def test_dead_leaves_without_photos():
    leaves = ["--dead-leaves", 4, "--textured", "--objective", "qpt"]
    output = _pretrain(*leaves, "--epochs", 1, "--out", "leaves.skiqa", *OPTIONS)
    assert "1 epochs of 4 images" in output
    assert "plateau" not in output  # the queue's grows
    assert _network("leaves.skiqa")


def test_killed_goes_on_to_the_same_weights():
    command = ["photos", "--epochs", "4", *OPTIONS]
    _pretrain(*command, "--out", "whole.skiqa")
    killed = [*command, "--out", "killed.skiqa"]
    process = ready_python.start("-m", "skiqa", "pretrain", *killed)
    deadline = time.monotonic() + 120
    while not list(Path(".").glob("killed.skiqa.training/*/step-*.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    if not Path("killed.skiqa").exists():  # unless it was done before the signal came
        assert re.search("going on from step|went on from the last step", _pretrain(*killed))
    whole = _network("whole.skiqa")
    for name, array in _network("killed.skiqa").items():
        np.testing.assert_array_equal(array, whole[name])


def test_torchrun_trains_to_the_same_weights():
    # rounding grows with the steps, the more so the larger they are
    command = ["photos", "--epochs", "1", "--precision", "float32", "--learning-rate", "0.01"]
    command += OPTIONS
    _pretrain(*command, "--out", "alone.skiqa")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    torchrun += ["-m", "skiqa", "pretrain", *command, "--out", "two.skiqa"]
    done = ready_python.run(*torchrun, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("two.skiqa: ") == 1  # the first process speaks for both
    alone = _network("alone.skiqa")
    for name, array in _network("two.skiqa").items():
        np.testing.assert_allclose(array, alone[name], atol=2e-3 * max(1, np.abs(array).max()))


def test_networks_that_stand_beside():
    _pretrain("photos", "--epochs", 1, "--out", "content.skiqa", *OPTIONS)
    beside = ["--weights", "content.skiqa", "--keep-start", "--content-backbone", "content.skiqa"]
    _pretrain("photos", "--epochs", 1, "--out", "three.skiqa", *beside, *OPTIONS)
    state = ContrastiveQualityEncoder(weights="three.skiqa").fit(["photos/0.png"]).state_
    content = _network("content.skiqa")
    for name in content:
        np.testing.assert_array_equal(state.networks[1][name], content[name])
        np.testing.assert_array_equal(state.content.networks[0][name], content[name])
    assert any((state.networks[0][name] != content[name]).any() for name in content)


def test_interrupted_says_how_to_go_on(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("skiqa._training.trainer.Trainer.require_finite_weights", interrupt)
    output = _pretrain("photos", "--out", "a.skiqa", "--epochs", 1, *OPTIONS, status=130)
    assert "no checkpoint yet" in output


def test_says_which_checkpoints_it_finds(capsys):
    own, other = Path("runs/own"), Path("runs/other")
    for folder in (own, other):
        folder.mkdir(parents=True)
    _print_where_it_goes_on(own)
    assert capsys.readouterr().err == ""
    (other / "step-000000004.pt").write_bytes(b"")
    _print_where_it_goes_on(own)
    assert "runs holds a run of other photos or options: this one starts anew" in (
        capsys.readouterr().err
    )
    for step in (8, 12):
        (own / f"step-{step:09d}.pt").write_bytes(b"")
    _print_where_it_goes_on(own)
    assert capsys.readouterr().err == "going on from step 12\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--out", "photos/0.png", "--overwrite"], "is one of the photos"),
        (["photos", "--out", "photos"], "is a folder"),
        (["photos/1.png", "--out", "a.skiqa", *OPTIONS], "needs at least 2"),
        (["--out", "a.skiqa"], "--dead-leaves N"),
        (["photos", "--out", "a.skiqa", "--backbone", "resnet5000"], "no network of timm"),
    ],
)
def test_refuses(arguments, message):
    assert message in _pretrain(*arguments, status=2)


def test_overwrites_only_when_asked():
    Path("a.skiqa").write_text("precious")
    assert "--overwrite" in _pretrain("photos", "--out", "a.skiqa", status=2)
    assert Path("a.skiqa").read_text() == "precious"


def test_unreadable_photo():
    Path("photos/8.png").write_text("no photo")
    options = ["--epochs", 1, *OPTIONS, "--batch-size", 9]
    output = _pretrain("photos", "--out", "a.skiqa", *options, status=2)
    assert "photos/8.png" in output
    assert "--on-error nan" in output
    assert "X[" not in output
