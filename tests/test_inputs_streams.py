import numpy as np
import pytest

import skiqa
from skiqa._inputs.streams import ImageStream
from skiqa.exceptions import ImageError
from skiqa.persistence import iter_quality, predict_quality


def test_no_more_is_held_than_is_in_work():
    drawn, held = [], []
    model = skiqa.load_model()

    def images():
        for n in range(20):
            drawn.append(n)
            yield np.full((40, 40 + n, 3), n, np.uint8)

    for quality in iter_quality(model, images(), n_jobs=2):
        held.append(len(drawn) - quality.index)
    assert quality.index == 19
    assert max(held) <= 6  # four ahead of the one in hand, whatever becomes of it


def test_stream_scores_as_a_list_does(png_paths, tmp_path):
    model = skiqa.load_model()
    model[0].set_params(cache_dir=str(tmp_path / "cache"))  # which a stream passes by
    gone = ImageError("the shard is gone", kind="missing")
    row = {"bytes": None, "path": png_paths[1]}
    images = [png_paths[0], row, {"bytes": (tmp_path / "china.png").read_bytes()}, None]
    found = list(iter_quality(model, iter([*images, gone]), n_jobs=2))
    expected = [quality.score for quality in iter_quality(model, images[:3])]
    assert [quality.score for quality in found][:3] == expected
    assert found[2].score == found[0].score != found[1].score
    assert [quality.error and quality.error.kind for quality in found] == [
        *[None] * 3,
        *["missing"] * 2,
    ]
    assert found[4].error.reason == "the shard is gone"
    assert np.isnan(predict_quality(model, iter([gone]))).all()


def test_what_is_no_image_is_named_when_it_comes():
    images = iter_quality(skiqa.load_model(), iter([np.zeros((40, 40)), 3]), n_jobs=1)
    with pytest.raises(TypeError, match=r"X\[1\] = <int>: an image is a path or an address"):
        list(images)


def test_a_stream_has_no_length():
    with pytest.raises(TypeError, match="read to its end, once"):
        len(ImageStream([]))
