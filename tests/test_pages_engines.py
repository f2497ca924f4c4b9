"""The page's examples of Ray Data and Spark give our scores, where these engines are installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import skiqa

PAGE = Path(__file__).parents[1] / "docs" / "sources.md"
RAY = """
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2 * 10**8)
"""
SPARK = """
from pyspark.sql import SparkSession
settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1"}
spark = SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
"""


@pytest.fixture
def folder(crops, tmp_path):
    """photos/ with three PNG files, and one that is none."""
    (tmp_path / "photos").mkdir()
    for number, crop in enumerate(crops[:3]):
        Image.fromarray(crop).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "torn.png").write_bytes(b"nothing")
    return tmp_path


def block_with(text):
    """Return the code of the page that holds a text."""
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if text in block)
    return code


def scores_by_name(code, folder):
    """Run code that writes its rows to rows.csv; return the scores by the files' names."""
    import pandas as pd

    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = pd.read_csv(folder / "rows.csv")
    return {path.rpartition("/")[2]: row for path, row in rows.set_index("path").iterrows()}


def check(rows, folder):
    assert sorted(rows) == ["0.png", "1.png", "2.png", "torn.png"]
    files = [folder / "photos" / name for name in sorted(rows)[:3]]
    expected = skiqa.load_model().predict(files)
    np.testing.assert_allclose([rows[file.name]["score"] for file in files], expected, rtol=1e-6)
    assert np.isnan(rows["torn.png"]["score"])
    assert "not an image" in rows["torn.png"]["error"]


def test_ray(folder):
    pytest.importorskip("ray.data")
    code = block_with("map_batches").replace("s3://bucket/photos/", "photos")
    code = code.replace("concurrency=8", "concurrency=1")
    code = re.sub(r"\.write_parquet\(.*\)", ".to_pandas().to_csv('rows.csv')", code)
    check(scores_by_name(RAY + code, folder), folder)


def test_spark(folder):
    pytest.importorskip("pyspark")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java")
    code = block_with("mapInPandas").replace("s3a://bucket/photos/", "photos")
    code += "scored.toPandas().to_csv('rows.csv')\n"
    check(scores_by_name(SPARK + code, folder), folder)
