"""Frames of films: which, how turned, in which colors; and what is wrong with a film."""

import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from made_views import gray_film, timed_film, write_film

from skiqa.exceptions import ImageError
from skiqa.views import video_frames

av = pytest.importorskip("av")

ONE = {"count": 1}


def number_of(view):
    """Which frame of a `gray_film` it is."""
    return round((view.image.mean() - 10) / 5)


@pytest.fixture
def film(tmp_path):
    return gray_film(tmp_path / "a.mp4", 40)


def test_frames_are_those_that_are_asked_for(film):
    views = list(video_frames(film, every=0.5))
    assert [number_of(view) for view in views] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert [view.time for view in views] == pytest.approx(np.arange(0, 4, 0.5))
    assert views[1].name == "t=0.500"
    assert [number_of(view) for view in video_frames(film, count=4)] == [5, 15, 25, 35]
    assert [number_of(view) for view in video_frames(film, count=99)] == list(range(40))


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx")]
)
def test_containers(tmp_path, suffix, codec):
    options = {"b": "400k"} if codec == "libvpx" else {}
    path = gray_film(tmp_path / f"a{suffix}", 20, codec=codec, options=options)
    assert [number_of(view) for view in video_frames(path, count=2)] == [5, 15]
    with open(path, "rb") as file:
        assert [number_of(view) for view in video_frames(file, every=1)] == [0, 10]


def test_a_film_without_times_and_length(tmp_path):
    path = gray_film(tmp_path / "a.h264", 20)
    views = list(video_frames(path, count=2))
    assert [number_of(view) for view in views] == [5, 15]


SLIDES = [5.0] * 4
STILL = [0.1] * 4 + [20.0]
RECORDED = [0.1, 0.1, 9.8, 0.1, 0.1, 0.1]  # of a screen where nothing moved for a while


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("seconds", "rate", "how", "numbers"),
    [
        (SLIDES, Fraction(1, 5), {"count": 4}, [0, 1, 2, 3]),
        (SLIDES, Fraction(1, 5), {"count": 32}, [0, 1, 2, 3]),
        (SLIDES, Fraction(1, 5), {"every": 6}, [0, 1, 2, 3]),
        (STILL, 10, {"count": 4}, [4]),
        (STILL, 10, {"every": 30}, [0]),
        (RECORDED, 10, {"count": 4}, [2]),
        (RECORDED, 10, {"every": 2}, [0, 2, 3]),
        (RECORDED, 10, {"every": 10.15}, [0, 4]),
        ([5.0], Fraction(1, 5), {"count": 3}, [0]),
        ([0.1], 10, {"every": 1}, [0]),
    ],
)
def test_frames_are_those_on_the_screen(tmp_path, suffix, seconds, rate, how, numbers):
    """The one that has stood there for long, not the next to come; each once."""
    path = timed_film(tmp_path / f"a{suffix}", seconds, rate=rate)
    assert [number_of(view) for view in video_frames(path, **how)] == numbers


@pytest.mark.parametrize("how", [{"count": 2}, {"every": 1}, {"shots": True}])
def test_a_film_of_one_frame_has_that_frame(tmp_path, how):
    short = timed_film(tmp_path / "a.avi", [0.1])
    sounding = timed_film(tmp_path / "a.mkv", [0.1], silence=3)
    for path in (short, sounding):
        assert [number_of(view) for view in video_frames(path, **how)] == [0]


@pytest.mark.parametrize("how", [{"count": 2}, {"every": 1}, {"shots": True}])
def test_a_film_of_no_frame_is_an_error(tmp_path, how):
    path = timed_film(tmp_path / "a.mkv", [], silence=0.5)
    with pytest.raises(ImageError, match=r"a.mkv: there are no pictures in the film"):
        list(video_frames(path, **how))


@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_films_that_are_searched_badly_or_not_at_all(tmp_path, monkeypatch, suffix):
    """Of a transport stream a search finds a packet: what is seen from there on comes later."""
    from skiqa.views import _video

    path = gray_film(tmp_path / f"a{suffix}", 48, gop=7)
    monkeypatch.setattr(_video, "FAR", 1.0)
    assert [number_of(view) for view in video_frames(path, count=3)] == [8, 24, 40]


def test_frames_far_apart_are_searched(tmp_path, monkeypatch):
    """The index finds the same frames as decoding on, and most are not decoded."""
    from skiqa.views import _video

    path = gray_film(tmp_path / "a.mp4", 48)
    plain = [number_of(view) for view in video_frames(path, count=3)]
    decoded = []
    original = _video._decoded
    monkeypatch.setattr(_video, "FAR", 1.0)
    monkeypatch.setattr(
        _video, "_decoded", lambda *args: (decoded.append(0) or pair for pair in original(*args))
    )
    assert [number_of(view) for view in video_frames(path, count=3)] == plain == [8, 24, 40]
    assert len(decoded) < 40


@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)]
)
def test_container_says_how_a_film_is_turned(tmp_path, photo, matrix, turns):
    """The matrix of ISO 14496-12, 8.3.2, written into the file by hand: (a, b, c, d) of 16.16."""
    path = tmp_path / "a.mp4"
    write_film(path, [photo] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[at + place : at + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    (view,) = video_frames(path, **ONE)
    difference = np.abs(view.image.astype(int) - np.rot90(photo, turns))
    assert difference.mean() < 8


RED = np.full((48, 64, 3), (200, 50, 80), np.uint8)


@pytest.mark.parametrize("matrix", [1, 5])
def test_colors_are_those_of_the_matrix(tmp_path, matrix):
    path = write_film(tmp_path / "a.mp4", [RED] * 3, tags={"colorspace": matrix})
    (view,) = video_frames(path, **ONE)
    np.testing.assert_allclose(view.image[20, 20], RED[0, 0], atol=4)


@pytest.mark.parametrize(("rows", "matrix"), [(720, 1), (480, 5)])
def test_films_that_say_no_matrix(tmp_path, rows, matrix):
    """Of 720 rows and more: BT.709; else BT.601. 200, 50, 80 by the other one are 20 off."""
    red = np.full((rows, 64, 3), RED[0, 0], np.uint8)
    frame = av.VideoFrame.from_ndarray(red, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10, width=64, height=rows, options={"qmin": "1"})
        frame.colorspace = 2
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    (view,) = video_frames(tmp_path / "a.mp4", **ONE)
    np.testing.assert_allclose(view.image[20, 20], RED[0, 0], atol=4)


@pytest.mark.parametrize(("transfer", "name", "code"), [(16, "PQ", 0.5807), (18, "HLG", 0.75)])
def test_hdr_is_said_and_brought_to_sdr(tmp_path, transfer, name, code):
    """BT.2408, table 1: reference white, 203 cd/m², has the code 58 % in PQ and 75 % in HLG."""
    white = np.full((48, 64, 3), round(code * 65535), np.uint16)
    dark = np.full((48, 64, 3), round(code * 65535 / 2), np.uint16)
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    how = {"pix_fmt": "yuv420p10le", "tags": tags}
    path = write_film(tmp_path / "a.mp4", [white] * 2 + [dark] * 2, **how)
    with pytest.warns(UserWarning, match=rf"a.mp4 is HDR \({name}\)") as said:
        bright, dark_view = video_frames(path, count=2)
    assert len(said) == 1
    assert bright.image.min() >= 250
    assert 10 < dark_view.image.mean() < 190


def test_pixels_that_are_not_square(tmp_path):
    path = write_film(tmp_path / "a.mp4", [RED] * 3, tags={"sample_aspect_ratio": Fraction(3, 2)})
    (view,) = video_frames(path, **ONE)
    assert view.image.shape == (48, 96, 3)


def test_a_frame_of_each_shot(tmp_path):
    rng = np.random.default_rng(0)
    scenes = [rng.integers(low, low + 60, (48, 64, 1)).repeat(3, 2) for low in (0, 180, 90)]
    frames = [
        scene.astype(np.uint8)
        for scene, n in zip(scenes, (10, 20, 8), strict=True)
        for _ in range(n)
    ]
    path = write_film(tmp_path / "a.mp4", frames)
    views = list(video_frames(path, shots=True))
    assert [view.time for view in views] == pytest.approx([0.5, 2.0, 3.4], abs=0.11)
    assert [round(view.image.mean(), -1) for view in views] == [30, 210, 120]


def test_the_end_of_a_flash_is_no_cut(tmp_path):
    frames = [np.full((48, 64, 3), 255 if 12 <= n < 14 else 60, np.uint8) for n in range(40)]
    path = write_film(tmp_path / "a.mp4", frames)
    assert len(list(video_frames(path, shots=True))) == 2


def test_memory_is_flat(tmp_path):
    path = gray_film(tmp_path / "a.mp4", 48, size=(240, 320))
    tracemalloc.start()
    try:
        for view in video_frames(path, every=0.1):
            del view
        assert tracemalloc.get_traced_memory()[1] < 6 * 240 * 320 * 3 + 2**20
    finally:
        tracemalloc.stop()


def _cut(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    ("name", "make", "kind", "message"),
    [
        ("none.mp4", lambda path: None, "missing", "there is no such file"),
        ("empty.mp4", lambda path: path.touch(), "damaged", "the file is empty"),
        ("text.mp4", lambda path: path.write_bytes(b"no film" * 99), "damaged", "cannot be read"),
        (
            "torn.mp4",
            lambda path: (gray_film(path, 40), _cut(path, 0.5)),
            "damaged",
            "cannot be read",
        ),
    ],
)
def test_what_is_wrong_with_a_film(tmp_path, name, make, kind, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(ImageError, match=f"{name}: .*{message}") as raised:
        list(video_frames(path, count=3))
    assert raised.value.kind == kind
    assert name not in raised.value.reason


def test_a_film_that_is_cut_off(tmp_path):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (40, 48, 64, 3), dtype=np.uint8))
    path = tmp_path / "a.mkv"
    write_film(path, frames)
    _cut(path, 0.5)
    with pytest.raises(ImageError, match=r"a.mkv: .*(cut off at|beyond) [12]\.\d") as raised:
        list(video_frames(path, every=0.5))
    assert raised.value.kind == "damaged"


def test_sound_alone(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        file.mux(stream.encode(frame))
    with pytest.raises(ImageError, match=r"sound.wav: there are no pictures"):
        list(video_frames(path, count=1))


@pytest.mark.parametrize(
    "how",
    [{}, {"every": 1, "count": 2}, {"every": 0}, {"count": 0}, {"every": 1, "shots": True}]
    + [{"every": value} for value in (float("nan"), float("inf"))],
)
def test_which_frames_must_be_said(how):
    with pytest.raises(ValueError, match=r"say which frames|must be a number"):
        video_frames("a.mp4", **how)


def test_without_pyav_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImageError, match=r"'a.mp4': films need .* pip install 'skiqa\[video\]'"):
        next(video_frames("a.mp4", count=1))
