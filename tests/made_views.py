"""Films that PyAV has written."""

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
