"""All frames of animations."""

from __future__ import annotations

import os
from collections.abc import Generator

from skiqa._inputs.decode import as_image_error, check_file
from skiqa._inputs.formats import open_image
from skiqa._inputs.pil import Origin, pil_to_rgb
from skiqa._types import Path
from skiqa.exceptions import ImageError
from skiqa.views._view import View, check_count, naming, spread

__all__ = ["animation_frames"]


def animation_frames(path: Path, *, count: int | None = None) -> Generator[View, None, None]:
    """Yield the frames of an animation, GIF, WebP, PNG or AVIF, as they are shown.

    Parameters
    ----------
    path : str or path
        A file with one frame is an animation of one.
    count : int or None, default=None
        Number of frames, from the middles of equal parts. None: all.

    Yields
    ------
    View
        Named by the number, such as "frame 0", with the time at which it appears. Of frames that
        only change what differs the whole picture; transparency lies over white.

    Raises
    ------
    ImageError
        If it cannot be read. The message names it.
    ValueError
        If `count` is of no use.

    Notes
    -----
    One frame is held at a time, but what Pillow holds of the file. The picture that a PNG shows
    where animations are not understood is no frame.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from skiqa.views import animation_frames
    >>> path = f"{tempfile.mkdtemp()}/a.gif"
    >>> frames = [Image.new("L", (8, 8), gray) for gray in (0, 100, 200)]
    >>> frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    >>> [(view.name, view.time, int(view.image[0, 0, 0])) for view in animation_frames(path)]
    [('frame 0', 0.0, 0), ('frame 1', 0.04, 100), ('frame 2', 0.08, 200)]
    """
    check_count(count, "frames")
    return _frames(path, count)


def _frames(path: Path, count: int | None) -> Generator[View, None, None]:
    try:
        check_file(path)
        with open(path, "rb") as file:
            opened = open_image(file)
            if opened is None:
                raise ImageError("a camera's raw file is no animation", kind="format")
            with opened as image:
                first = int(bool(image.info.get("default_image")))
                n_frames = getattr(image, "n_frames", 1) - first
                chosen, seconds = set(spread(n_frames, count)), 0.0
                for number in range(n_frames):
                    image.seek(number + first)
                    image.load()
                    if number in chosen:
                        frame = image.copy()
                        pixels = pil_to_rgb(frame, None, Origin(frame))
                        yield View(pixels, f"frame {number}", 1.0, round(seconds, 6))
                    seconds += image.info.get("duration", 0) / 1000
    except Warning:
        raise
    except Exception as error:
        told = error if isinstance(error, ImageError) else as_image_error(error)
        raise naming(repr(os.fspath(path)), told) from error
