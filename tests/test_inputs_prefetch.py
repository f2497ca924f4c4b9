import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._inputs import prefetch
from skiqa._inputs.containers import as_image_list
from skiqa._inputs.prefetch import iter_decoded
from skiqa.exceptions import ImageError


def decode_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skiqa-decode")]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    n_jobs=st.sampled_from([None, 1, 2, 3]),
    prefetch=st.integers(0, 5),
    data=st.data(),
)
@settings(max_examples=25)
def test_order_is_kept_and_batch_is_one_by_one(sizes, n_jobs, prefetch, data):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (n, 41 - n, 3), dtype=np.uint8) for n in sizes]
    images = as_image_list([Image.fromarray(a) for a in arrays])
    indices = data.draw(st.none() | st.lists(st.integers(0, len(sizes) - 1), max_size=20))
    pairs = list(iter_decoded(images, n_jobs=n_jobs, prefetch=prefetch, indices=indices))
    assert [i for i, _ in pairs] == (list(range(len(sizes))) if indices is None else indices)
    for i, image in pairs:
        assert_array_equal(image, images.load(i))
        assert_array_equal(image, arrays[i])


def test_all_cores(png_paths, small_photos):
    pairs = list(iter_decoded(as_image_list(png_paths * 5), n_jobs=-1))
    for i, image in pairs:
        assert_array_equal(image, small_photos[i % 2])
    assert not decode_threads()


class Gated:
    """Images that tell how many were begun, and can be made to wait."""

    def __init__(self, n, *, fails=()):
        self.n, self.fails, self.begun = n, fails, []
        self.gate = threading.Event()
        self.gate.set()

    def __len__(self):
        return self.n

    def footprint(self, index, max_pixels=None):
        return 0

    def load(self, index, max_pixels=None):
        self.begun.append(index)
        assert self.gate.wait(20)
        if index in self.fails:
            raise self.fails[index]
        return np.full((1, 1, 3), index, np.uint8)


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never happened")


@pytest.mark.parametrize(("n_jobs", "prefetch", "n_ahead"), [(None, 4, 4), (2, 5, 5), (3, 1, 3)])
def test_decodes_ahead_and_no_further(n_jobs, prefetch, n_ahead):
    images = Gated(30)
    decoded = iter_decoded(images, n_jobs=n_jobs, prefetch=prefetch)
    for taken in range(1, 4):
        next(decoded)
        wait_for(lambda expected=taken + n_ahead: len(images.begun) == expected)
        threading.Event().wait(0.02)
        assert len(images.begun) == taken + n_ahead
    decoded.close()
    assert not decode_threads()
    assert len(images.begun) == 3 + n_ahead


def test_consumer_that_stops_or_raises_leaves_no_threads():
    images = Gated(100)
    for _, _ in iter_decoded(images, n_jobs=2):
        break
    assert not decode_threads()

    def consume():
        for index, _ in iter_decoded(images, n_jobs=2):
            if index == 3:
                raise KeyError

    with pytest.raises(KeyError):
        consume()
    wait_for(lambda: not decode_threads())
    assert len(images.begun) < 30


def test_never_started_generator_has_no_threads():
    decoded = iter_decoded(Gated(5), n_jobs=2)
    assert not decode_threads()
    decoded.close()


@pytest.mark.parametrize("error", [ImageError("bad"), TypeError("worse")])
def test_error_is_raised_at_its_turn(error):
    decoded = iter_decoded(Gated(20, fails={5: error}), n_jobs=3, prefetch=8)
    assert [next(decoded)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(type(error), match=str(error)):
        next(decoded)
    assert not decode_threads()


def test_unreadable_images_are_yielded_in_place():
    images = Gated(6, fails={0: ImageError("a"), 4: ImageError("b")})
    pairs = list(iter_decoded(images, n_jobs=2, on_error="nan"))
    assert [i for i, image in pairs if isinstance(image, ImageError)] == [0, 4]
    assert [i for i, _ in pairs] == list(range(6))
    assert pairs[0][1].__traceback__ is None
    with pytest.raises(TypeError):
        list(iter_decoded(Gated(3, fails={1: TypeError("x")}), on_error="nan"))


def test_yielded_error_keeps_no_pixels_alive(png_paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(png_paths[0]).read_bytes()[:2000])
    ((_, error),) = iter_decoded(as_image_list([str(broken)]), on_error="nan")
    while error is not None:
        assert error.__traceback__ is None
        error = error.__cause__ or error.__context__


def test_many_consumers_at_once(png_paths, small_photos):
    images = as_image_list(png_paths * 4)

    def consume(_):
        return [image for _, image in iter_decoded(images, n_jobs=2)]

    with ThreadPoolExecutor(4) as executor:
        for result in executor.map(consume, range(4)):
            for i, image in enumerate(result):
                assert_array_equal(image, small_photos[i % 2])


def test_nothing_to_decode():
    assert list(iter_decoded(Gated(5), indices=[])) == []
    assert not decode_threads()


def test_n_jobs_zero():
    with pytest.raises(ValueError, match="n_jobs"):
        next(iter_decoded(Gated(5), n_jobs=0))


# Memory -------------------------------------------------------------------------------------------


class Weighed(Gated):
    """Images that take some bytes while they are decoded, and some, of no memory, afterwards."""

    def __init__(self, footprints, results):
        super().__init__(len(footprints))
        self.footprints, self.results = footprints, results
        self.lock, self.now, self.most = threading.Lock(), {}, 0

    def footprint(self, index, max_pixels=None):
        return self.footprints[index]

    def load(self, index, max_pixels=None):
        with self.lock:
            self.now[index] = self.footprints[index]
            if sum(map(bool, self.now.values())) > 1:
                self.most = max(self.most, sum(self.now.values()))
        super().load(index)
        with self.lock:
            self.now[index] = min(self.results[index], self.footprints[index])
        return np.broadcast_to(np.uint8(0), self.results[index])


@given(
    sizes=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=20),
    n_jobs=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=25)
def test_photos_in_flight_stay_below_a_limit_or_are_one(sizes, n_jobs):
    images = Weighed(*zip(*sizes, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefetch, "BYTES_IN_FLIGHT", 10)
        for turn, (index, _) in enumerate(iter_decoded(images, n_jobs=n_jobs, prefetch=6)):
            assert index == turn
            with images.lock:
                del images.now[index]
    assert images.most <= 10


def test_two_huge_photos_are_not_decoded_at_once():
    images = Weighed([7 * 10**8] * 5, [3] * 5)  # as two bombs of 170 megapixels
    images.gate.clear()
    decoded = iter_decoded(images, n_jobs=3)
    first = threading.Thread(target=next, args=(decoded,))
    first.start()
    wait_for(lambda: images.begun == [0])
    threading.Event().wait(0.02)
    assert images.begun == [0]
    images.gate.set()
    first.join()
    decoded.close()
    assert not decode_threads()


def test_stopping_ends_threads_that_wait_for_memory():
    images = Weighed([2**31] * 5, [2**31] * 5)
    decoded = iter_decoded(images, n_jobs=3)
    next(decoded)
    decoded.close()
    assert not decode_threads()
    assert images.begun == [0]


def test_footprint_is_read_off_the_header(tmp_path):
    photo = Image.new("RGB", (800, 600))
    for format, max_pixels, pixels in [
        ("JPEG", None, 800 * 600),
        ("JPEG", 40 * 30, 200 * 150),  # decoded at a quarter, at least
        ("PNG", 40 * 30, 800 * 600),
    ]:
        photo.save(tmp_path / "a", format)
        data = (tmp_path / "a").read_bytes()
        for form in (str(tmp_path / "a"), data, Image.open(io.BytesIO(data))):
            images = as_image_list([form])
            assert pixels <= images.footprint(0, max_pixels) <= pixels * 10
    assert as_image_list(["missing.jpg"]).footprint(0) == 0
    assert as_image_list([np.zeros((9, 9))]).footprint(0) == 0


# Real photos --------------------------------------------------------------------------------------


def test_sample_photos_from_disk():
    bunch = load_sample_images()
    folder = Path(sklearn.datasets.__file__).parent / "images"
    paths = [folder / name for name in map(os.path.basename, bunch.filenames)]
    for (_, image), expected in zip(iter_decoded(as_image_list(paths)), bunch.images, strict=True):
        assert_array_equal(image, expected)


def test_database_photos():
    root = Path(os.environ.get("SKIQA_DATA", Path(__file__).parents[1] / "../shared/data"))
    paths = sorted((root / "biq2021" / "images").glob("*.jpg"))[:6]
    if not paths:
        pytest.skip("SKIQA_DATA does not point to the databases")
    for (_, image), path in zip(iter_decoded(as_image_list(paths), n_jobs=2), paths, strict=True):
        with Image.open(path) as file:
            expected = file.convert("RGB")
        assert_array_equal(image, np.asarray(expected))
