"""Frames of films, decoded one by one by PyAV."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from skiqa._inputs.colour import HLG, PQ, apply_coding
from skiqa._inputs.decode import check_file
from skiqa._types import Path, Pixels
from skiqa.exceptions import ImageError
from skiqa.views._shots import shot_middles
from skiqa.views._view import View, check_count, missing_extra, naming

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["video_frames"]

FAR = 10.0  # seconds beyond which a film is searched, not decoded on: a usual gap of key frames
CUT_OFF = (1.0, 0.05)  # seconds, and part, by which a film may end before its header says
ROUNDED = 0.001  # seconds to which Matroska and FLV round the times of frames

# Numbers of ITU-T H.273
BT709, UNSAID = 1, 2  # a matrix from which RGB comes
WIDE = (9, 12)  # primaries: BT.2020 and Display P3
SRGB = 13  # a transfer
HD = 720  # rows, from which films that do not say it are of BT.709, others of BT.601


def video_frames(
    film: Path | BinaryIO,
    *,
    every: float | None = None,
    count: int | None = None,
    shots: bool = False,
) -> Generator[View, None, None]:
    """Yield frames of a film, upright and in sRGB.

    Parameters
    ----------
    film : str, path or binary file
        Any film that FFmpeg reads. A file must be seekable.
    every : float or None, default=None
        Seconds from one frame to the next.
    count : int or None, default=None
        Number of frames, from the middles of equal parts of the film. Fewer if it has fewer.
    shots : bool, default=False
        One frame from the middle of each shot, as far as histograms tell where one ends.

    Yields
    ------
    View
        Named by the time at which it appears, such as "t=1.500": of the frame that is on the screen
        at the moment asked for. Each frame once, however long it stays there.

    Raises
    ------
    ValueError
        Unless exactly one of `every`, `count` and `shots` is given, and of use.
    ImageError
        If the film cannot be read, is cut off, has no pictures, or PyAV is missing. The message
        names it.

    Warns
    -----
    UserWarning
        If the film is HDR (PQ or HLG). Its light is brought to that of an SDR screen, as that of
        photos is, and no scorer was fitted to such films.

    Notes
    -----
    Two frames are held at a time. Frames more than ten seconds apart are found by the film's index;
    else all between them are decoded. `shots` decodes the film twice. Colors are those of the
    film's matrix, range, primaries and transfer; films that say no matrix are taken to be of BT.709
    from 720 rows on, else of BT.601. Pixels that are not square become so. Interlaced films are
    not deinterlaced: combs in their frames cost score.

    Examples
    --------
    >>> import tempfile
    >>> import av, numpy as np
    >>> from skiqa.views import video_frames
    >>> path = f"{tempfile.mkdtemp()}/film.mp4"
    >>> with av.open(path, "w") as film:
    ...     stream = film.add_stream("mpeg4", rate=10, width=64, height=48)
    ...     for n in range(40):
    ...         frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n, np.uint8))
    ...         film.mux(stream.encode(frame))
    ...     film.mux(stream.encode())
    >>> [view.name for view in video_frames(path, every=1.5)]
    ['t=0.000', 't=1.500', 't=3.000']
    >>> [view.name for view in video_frames(path, count=2)]
    ['t=1.000', 't=3.000']
    """
    if (every is not None) + (count is not None) + bool(shots) != 1:
        raise ValueError("say which frames: one of every=SECONDS, count=N and shots=True")
    if every is not None and not 0 < every < math.inf:
        raise ValueError(f"every={every} must be a number of seconds above 0")
    check_count(count, "frames")
    return _video_frames(film, every, count)


def _video_frames(
    film: Path | BinaryIO, every: float | None, count: int | None
) -> Generator[View, None, None]:
    name = film if isinstance(film, str | os.PathLike) else getattr(film, "name", "film")
    try:
        import av
    except ImportError:
        raise missing_extra(name, "films", "video") from None
    time = 0.0
    try:
        with _opened(film, name) as (container, stream):
            duration = _duration(container, stream)
            if every is not None:
                moments: Iterable[float] = np.arange(0, max(duration, every), every)
            elif count is not None:
                moments = (np.arange(count) + 0.5) * (duration / count)
            else:
                moments = shot_middles(_decoded(container, stream, duration))
        with _opened(film, name) as (container, stream):  # again: not all can be wound back
            aspect = float(stream.sample_aspect_ratio or 1)
            said = False
            for time, frame in _frames_at(container, stream, moments, duration):
                if frame.color_trc in (PQ, HLG) and not said:
                    said = True
                    _say_hdr(name, "PQ" if frame.color_trc == PQ else "HLG")
                yield View(_pixels(frame, aspect), f"t={time:.3f}", 1.0, time)
    except ImageError as error:
        raise naming(name, error) from error
    except av.error.FFmpegError as error:
        where = f"beyond {time:.3f} seconds " if time else ""
        reason = f"the film cannot be read {where}({error.strerror})"
        raise naming(name, ImageError(reason, kind="damaged")) from error


@contextlib.contextmanager
def _opened(film: Path | BinaryIO, name: object) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    with contextlib.ExitStack() as stack:
        if isinstance(film, str | os.PathLike):
            check_file(film)
            # one that Python has opened: FFmpeg would take some names for addresses
            film = stack.enter_context(open(film, "rb"))
        film.seek(0)
        container = stack.enter_context(av.open(film, options={"protocol_whitelist": "none"}))
        if not container.streams.video:
            raise ImageError("there are no pictures in the film", kind="format")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Return the seconds that a film's pictures last, by its header or else by its packets."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / 1e6
    end, n_packets = 0.0, 0
    for packet in container.demux(stream):
        n_packets += packet.size > 0
        end = max(end, _end(packet))
    return end - _start(stream) if end else n_packets * _step(stream)


def _end(packet: Packet) -> float:
    """Return the second at which what is in a packet ends; 0: it does not say."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _start(stream: VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _step(stream: VideoStream) -> float:
    """Return the seconds from frame to frame, on the mean."""
    return 1 / float(stream.average_rate or stream.guessed_rate or 25)


def _decoded(
    container: InputContainer, stream: VideoStream, duration: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield all frames from here on, with their times; where a file says none, by the rate.

    ImageError tells of a film whose pictures and sound both end too early.
    """
    start, step = _start(stream), _step(stream)
    time, end = -step, 0.0
    for packet in container.demux(stream, *container.streams.audio):
        end = max(end, _end(packet) - start)
        if packet.stream is stream:  # its index is 0 where a decoder is emptied
            for frame in stream.decode(packet):
                time = time + step if frame.time is None else max(0.0, frame.time - start)
                yield time, frame
    end = max(end, time + step)
    if duration - end > max(CUT_OFF[0], CUT_OFF[1] * duration):
        raise ImageError(
            f"the film is cut off at {end:.1f} of {duration:.1f} seconds", kind="damaged"
        )


def _frames_at(
    container: InputContainer, stream: VideoStream, moments: Iterable[float], duration: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield what is on the screen at each moment, before the first frame that one; each once."""
    import av

    frames = _decoded(container, stream, duration)
    given, shown, coming = -math.inf, None, next(frames, None)
    for moment in moments:
        far = coming and coming[1].time is not None and moment - coming[0] > FAR
        for lead in (0.0, FAR) if far else ():  # some are searched by packet, not by key frame
            place = (moment - lead + _start(stream)) / float(stream.time_base or 1)
            try:
                container.seek(round(place), stream=stream)
            except av.error.FFmpegError:  # no index: it is decoded on
                break
            frames = _decoded(container, stream, duration)
            shown, coming = None, next(frames, None)
            if coming and coming[0] <= moment + ROUNDED:
                break
        while coming and (shown is None or coming[0] <= moment + ROUNDED):
            shown, coming = coming, next(frames, None)
        if shown and shown[0] > given:
            given = shown[0]
            yield shown
    if given == -math.inf:
        raise ImageError("there are no pictures in the film", kind="damaged")


def _pixels(frame: av.VideoFrame, aspect: float) -> Pixels:
    """Return a frame as it is shown: upright, square pixels, sRGB."""
    matrix = BT709 if frame.colorspace == UNSAID and frame.height >= HD else None
    how = {"width": max(1, round(frame.width * aspect)), "src_colorspace": matrix}
    primaries, transfer = frame.color_primaries, frame.color_trc
    if primaries in WIDE or transfer in (PQ, HLG):
        codes = frame.reformat(format="rgb48le", **how).to_ndarray() / np.float32(65535)
        pixels = apply_coding(codes, (primaries, transfer if transfer in (PQ, HLG) else SRGB))
    else:
        pixels = frame.reformat(format="rgb24", **how).to_ndarray()
    # the display matrix turns by so many degrees against the clock
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _say_hdr(name: object, transfer: str) -> None:
    warnings.warn(
        f"{name!s} is HDR ({transfer}): its light is brought to that of an SDR screen, and no "
        "scorer was fitted to such films",
        stacklevel=3,
    )
