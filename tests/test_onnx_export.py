"""A scorer in an ONNX file: `skiqa.persistence.to_onnx`, ``skiqa export``, and docs/export.md."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from conftest import TINY
from PIL import Image
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVR

import skiqa
from skiqa import ContrastiveQualityEncoder, load_model
from skiqa._features.scorer import _padded, _scaled
from skiqa._inputs.resizing import pad_for_network, resize
from skiqa._network.build import random_state_of
from skiqa.cli import main
from skiqa.persistence import model_card, to_onnx

PAGE = Path(__file__).parents[1] / "docs" / "export.md"


def scores(path, photos):
    session = onnxruntime.InferenceSession(path)
    return [session.run(["score"], {"pixels": photo[None]})[0].item() for photo in photos]


def encoder(name=TINY, **parameters):
    with_weights = ContrastiveQualityEncoder(weights=None, backbone=name, **parameters)
    return with_weights.with_state(random_state_of(name, 0))


def fitted(crops, *steps):
    """Return a pipeline whose encoder is fitted and whose other steps are fitted to some order."""
    model = make_pipeline(*steps)
    model[1:].fit(steps[0].transform(crops), np.arange(len(crops)))
    return model


def test_the_program_of_the_page_scores_without_skiqa(photo_paths, tmp_path):
    """Odd sizes, a photo above the viewing size, one that lies on its side."""
    (tmp_path / "photos").mkdir()
    china = Image.open(photo_paths[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        (china, {}),
        (china.crop((3, 5, 404, 302)), {}),
        (china.crop((100, 100, 197, 131)), {}),
        (china.resize((2001, 1335), Image.Resampling.LANCZOS), {}),
        (china.resize((1003, 667), Image.Resampling.LANCZOS), {"exif": exif}),
    ]
    for i, (image, options) in enumerate(files):
        image.save(tmp_path / "photos" / f"{i}.jpg", quality=90, **options)
    CliRunner().invoke(main, ["export", "--onnx", str(tmp_path / "scorer.onnx")])
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)[-1]
    hook = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"skiqa", "torch", "timm", "sklearn", "scipy", "onnx"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""
    done = subprocess.run(
        [sys.executable, "-c", hook + program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [float(line.split(": ")[1]) for line in done.stdout.splitlines()]
    paths = sorted((tmp_path / "photos").glob("*.jpg"))
    expected = load_model().predict(paths)
    np.testing.assert_allclose(found, expected, atol=0.0501)  # it prints one digit


def test_scores_are_those_of_the_pipeline(tmp_path, crops):
    model = load_model()
    to_onnx(model, tmp_path / "scorer.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["scorer.onnx"]
    small = [crops[0][:1, :1], crops[1][:20, :33], crops[2][:, :15], *crops]
    found = scores(tmp_path / "scorer.onnx", small)
    np.testing.assert_allclose(found, model.predict(small), atol=1e-3)
    about = onnxruntime.InferenceSession(tmp_path / "scorer.onnx").get_modelmeta()
    assert about.custom_metadata_map["skiqa"] == skiqa.__version__
    assert int(about.custom_metadata_map["max_pixels"]) == model[0].state_.max_pixels
    assert json.loads(about.custom_metadata_map["card"]) == model_card(model)


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        (TINY, {"pooling": "avg", "scales": (1.0, 0.7, 0.35)}),
        ("test_vit.r160_in1k", {"scales": (0.5,)}),
    ],
)
def test_other_encoders(backbone, parameters, tmp_path, crops):
    model = fitted(crops, encoder(backbone, **parameters), Ridge(1e-3))
    to_onnx(model, tmp_path / "scorer.onnx")
    found = scores(tmp_path / "scorer.onnx", crops)
    np.testing.assert_allclose(found, model.predict(crops), atol=1e-3)
    about = onnxruntime.InferenceSession(tmp_path / "scorer.onnx").get_modelmeta()
    assert "max_pixels" not in about.custom_metadata_map


def test_two_experts(tmp_path, crops):
    states = [random_state_of(TINY, seed) for seed in range(2)]
    networks = [network for state in states for network in state.networks]
    both = encoder().with_state(replace(states[0], networks=networks))
    model = fitted(crops, both, LinearSVR())
    to_onnx(model, tmp_path / "scorer.onnx")
    np.testing.assert_allclose(
        scores(tmp_path / "scorer.onnx", crops), model.predict(crops), atol=1e-3
    )


@pytest.mark.parametrize(
    ("parameters", "others", "message"),
    [
        ({}, [SVR()], "'svr' (SVR)"),
        ({}, [RandomForestRegressor(2)], "'randomforestregressor'"),
        ({}, [StandardScaler(), Ridge()], "'standardscaler'"),
        ({"scales": (1.0, 0.2)}, [Ridge()], "a scale of 0.2"),
        ({"precision": "bfloat16"}, [Ridge()], "precision='bfloat16'"),
        ({"name": "mobilevit_xxs"}, [Ridge()], "mobilevit_xxs does not run"),
    ],
)
def test_what_does_not_go_into_a_file(parameters, others, message, tmp_path, crops):
    model = fitted(crops[:4], encoder(**parameters), *others)
    with pytest.raises(TypeError, match=re.escape(message)):
        to_onnx(model, tmp_path / "scorer.onnx")
    assert not list(tmp_path.iterdir())


def test_only_pipelines(tmp_path):
    with pytest.raises(TypeError, match="not ContrastiveQualityEncoder"):
        to_onnx(encoder(), tmp_path / "scorer.onnx")


def test_command_line_refuses(tmp_path):
    there = tmp_path / "scorer.onnx"
    there.write_text("mine")
    done = CliRunner().invoke(main, ["export", "--onnx", str(there)])
    assert done.exit_code == 2
    assert "--overwrite" in done.output
    assert there.read_text() == "mine"


@pytest.mark.parametrize(
    ("height", "width", "multiple"),
    [(1, 5, 32), (7, 33, 32), (64, 31, 16), (2, 3, 32), (64, 32, 32)],
)
@pytest.mark.parametrize("pooling", ["stages", "avg"])
def test_padding_is_that_of_the_pipeline(height, width, multiple, pooling):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    (found,) = _padded(torch.from_numpy(image)[None], multiple, pooling).numpy()
    np.testing.assert_array_equal(found, pad_for_network(image, multiple, pooling))


@pytest.mark.parametrize("scale", [0.5, 0.35])
def test_scaled_copies_are_those_of_the_pipeline(scale, crops):
    for image in (crops[0], crops[3][:39, :51], crops[6][:1, :2], crops[2][:, :15]):
        (found,) = _scaled(torch.from_numpy(image.copy())[None], scale).numpy()
        np.testing.assert_array_equal(found, resize(image, scale))
