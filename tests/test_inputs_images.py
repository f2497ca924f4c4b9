import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skiqa._inputs.containers import as_image_list
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa.exceptions import ImageError


def test_making_the_list_opens_no_file(png_paths):
    assert len(ImageList([*png_paths, "missing.jpg"])) == 3


def test_digests_are_those_of_each_image_or_none(png_paths, tmp_path):
    images = as_image_list([png_paths[0], str(tmp_path / "missing.png"), None, np.zeros((2, 3))])
    assert images.digests() == [images.digest(0), None, None, images.digest(3)]


def test_error_names_index_source_and_remedy(png_paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(png_paths[0]).read_bytes()[:2000])
    images = as_image_list([*png_paths, str(broken), np.full((2, 2), 300.0)])
    with pytest.raises(ImageError) as caught:
        images.load(2)
    message = str(caught.value)
    assert message.startswith(f"X[2] = {str(broken)!r}: the file is truncated")
    assert "; remove it from X; or, to go on without it, skiqa.predict_quality(" in message
    assert message.endswith("the encoder's on_error='nan' a row of NaN for its features")
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(
        ValueError, match=r"X\[3\] = <array \(2, 2\) float64>: float values"
    ) as caught:
        images.load(3)
    assert type(caught.value) is ValueError


def test_gap_in_a_column_is_an_unreadable_image(png_paths):
    pd = pytest.importorskip("pandas")
    for gap in (None, np.nan, pd.NA):
        for X in ([png_paths[0], gap], [gap, png_paths[0]], pd.Series([png_paths[0], gap])):
            images = as_image_list(X)
            outcomes = [image for _, image in iter_decoded(images, on_error="nan")]
            assert sum(isinstance(image, ImageError) for image in outcomes) == 1
            assert sum(isinstance(image, np.ndarray) for image in outcomes) == 1


def test_digest_follows_the_content(png_paths, small_photos, tmp_path):
    data = Path(png_paths[0]).read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    lossy = Image.fromarray(small_photos[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    lossy.save(buffer, "PNG", exif=turned)
    photo, other = small_photos
    grey = photo[..., 0]
    same_bytes = [png_paths[0], copy, data]
    same_pixels = [photo, Image.fromarray(photo), photo / 255]
    same_grey = [grey, np.dstack([grey] * 3)]
    others = [other, Image.open(io.BytesIO(buffer.getvalue())), grey.T]
    images = as_image_list([*same_bytes, *same_pixels, *same_grey, *others])
    digests = [images.digest(i) for i in range(len(images))]
    assert all(isinstance(d, bytes) and len(d) == 32 for d in digests)
    assert len(set(digests[:3])) == 1
    assert len(set(digests[3:6])) == 1
    assert digests[6] == digests[7]
    assert len(set(digests)) == 6


def test_digest_errors_are_those_of_reading(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image, but bytes")
    images = as_image_list([str(broken), str(tmp_path / "missing.png"), None, np.zeros((0, 3))])
    assert len(images.digest(0)) == 32
    for i in (1, 2, 3):
        with pytest.raises(ImageError, match=rf"X\[{i}\] = "):
            images.digest(i)


def test_image_list_pickles(png_paths, small_photos):
    images = pickle.loads(pickle.dumps(as_image_list([png_paths[0], small_photos[1]])))
    assert_array_equal(images.load(0), small_photos[0])
    assert images.source(0) == repr(png_paths[0])
