"""Films that PyAV has written."""

from fractions import Fraction

import numpy as np

FPS = 10


def write_film(
    path, frames, *, codec="libx264", pix_fmt="yuv420p", tags=None, gop=10, options=None
):
    """Write RGB frames, ten a second; `tags` are numbers of ITU-T H.273."""
    import av

    options = {"crf": "10", "preset": "ultrafast"} if options is None else options
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=FPS, options=options)
        stream.pix_fmt, stream.codec_context.gop_size = pix_fmt, gop
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for n, pixels in enumerate(frames):
            if n == 0:
                stream.height, stream.width = pixels.shape[:2]
            layout = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)
            if matrix := (tags or {}).get("colorspace"):
                frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix)
                frame.colorspace = matrix
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return str(path)


def gray_film(path, n_frames, size=(48, 64), **how):
    """Write a film whose frame n, up to 48, is gray of 5 n + 10."""
    frames = (np.full((*size, 3), 5 * n + 10, np.uint8) for n in range(n_frames))
    return write_film(path, frames, **how)


def timed_film(path, seconds, *, rate=FPS, silence=0.0):
    """Write a film whose frame n, gray of 5 n + 10, stands for seconds[n]; silence is a sound."""
    import av

    with av.open(str(path), "w") as film:
        if silence:  # the first stream, as in some files
            sound = film.add_stream("pcm_s16le", rate=8000)
            wave = np.zeros((1, round(8000 * silence)), np.int16)
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.rate = 8000
        stream = film.add_stream("mpeg4", rate=rate, width=64, height=48)
        stream.codec_context.time_base = Fraction(1, 1000)
        if silence:
            film.mux(sound.encode(frame))
        for n, duration in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * n + 10, np.uint8))
            frame.pts, frame.time_base = round(1000 * sum(seconds[:n])), Fraction(1, 1000)
            for packet in stream.encode(frame):  # mpeg4 keeps none back
                packet.duration = round(1000 * duration)
                film.mux(packet)
    return str(path)
