"""All frames of animations, as they are shown."""

import numpy as np
import pytest
from PIL import Image, features

from skiqa.exceptions import ImageError
from skiqa.views import animation_frames

KINDS = [
    ".gif",
    pytest.param(".webp", marks=pytest.mark.skipif(not features.check("webp"), reason="no WebP")),
    ".png",
]


@pytest.fixture
def frames(photo):
    """A square that moves over a photo: what changes is small, so that files keep only that."""
    shown = []
    for n in range(5):
        frame = photo.copy()
        frame[10:20, 10 * n : 10 * n + 10] = (255, 0, 0)
        shown.append(Image.fromarray(frame))
    return shown


@pytest.mark.parametrize("suffix", KINDS)
def test_all_frames_are_whole(frames, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    how = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, **how)
    views = list(animation_frames(path))
    assert [view.name for view in views] == [f"frame {n}" for n in range(5)]
    assert [view.time for view in views] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    for view, frame in zip(views, frames, strict=True):
        loss = np.abs(view.image.astype(int) - np.asarray(frame)).mean()
        assert loss < 8 if suffix == ".gif" else loss == 0
    assert [view.name for view in animation_frames(path, count=2)] == ["frame 1", "frame 3"]


def test_the_picture_for_old_viewers_is_no_frame(frames, tmp_path):
    path = tmp_path / "a.png"
    how = {"save_all": True, "append_images": frames[1:], "default_image": True}
    frames[0].save(path, **how)
    views = list(animation_frames(path))
    assert len(views) == 4
    assert (views[0].image == np.asarray(frames[1])).all()


def test_one_frame(frames, tmp_path):
    frames[0].save(tmp_path / "a.png")
    (view,) = animation_frames(tmp_path / "a.png")
    assert (view.image == np.asarray(frames[0])).all()


@pytest.mark.parametrize("count", [0, -3])
def test_numbers_of_frames_that_are_of_no_use(count):
    with pytest.raises(ValueError, match=f"count={count} must be a number of frames"):
        animation_frames("a.gif", count=count)


def test_what_is_wrong_with_a_file(frames, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a.gif'?: this is not an image") as raised:
        next(animation_frames(tmp_path / "a.gif"))
    assert raised.value.kind == "format"
    with pytest.raises(ImageError, match=r"none.gif'?: there is no such file"):
        next(animation_frames(tmp_path / "none.gif"))
