import json
import subprocess
import sys
import zlib

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import TINY
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import read_file, write_file
from skiqa.cli import main


def test_help_and_version_load_no_torch():
    code = (
        "import sys, atexit; from skiqa.cli import main;"
        "atexit.register(lambda: print(sorted({'torch', 'sklearn', 'numpy'} & set(sys.modules))));"
        "main(sys.argv[1:], prog_name='skiqa')"
    )
    for arguments in (["--help"], ["score", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
        )
        assert done.stdout.endswith("[]\n")
    assert done.stdout == f"skiqa {skiqa.__version__}\n[]\n"


def test_python_m_skiqa():
    done = subprocess.run(
        [sys.executable, "-m", "skiqa", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout == f"skiqa {skiqa.__version__}\n"


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [("pads", 2**50, "there is not enough memory"), ("dilations", 2**20, "does not run on")],
)
def test_a_file_whose_network_cannot_run_is_one_line(tmp_path, attribute, value, why):
    """It was a traceback: the file is whole, and what its graph asks for shows when it runs."""
    photo = load_sample_image("china.jpg")[:96, :128]
    encoder = ContrastiveQualityEncoder().with_state(random_state_of(TINY, 0))
    ridge = Ridge().fit(encoder.transform([photo, photo[::2]]), [1, 2])
    model, image = tmp_path / "own.skiqa", tmp_path / "photo.png"
    skiqa.persistence.save(make_pipeline(encoder, ridge), model)
    tensors, header = read_file(model)
    name = next(name for name in tensors if ".graph." in name)
    graph = onnx.load_model_from_string(zlib.decompress(tensors[name].tobytes()))
    node = [node for node in graph.graph.node if node.op_type == "Conv"][3]
    next(a for a in node.attribute if a.name == attribute).ints[0] = value
    packed = np.frombuffer(zlib.compress(graph.SerializeToString()), np.uint8)
    write_file(model, tensors | {name: packed}, header)
    Image.fromarray(photo).save(image)
    result = CliRunner().invoke(main, ["score", "--json", "--model", str(model), str(image)])
    assert result.exit_code == 2
    assert why in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(result.stdout) == []
