import io
import os
import pickle
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
from scipy import sparse
from sklearn.datasets import load_sample_images

from skiqa._inputs.containers import as_image_list, is_rows
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_to, resize
from skiqa._inputs.rows import rows_as_images
from skiqa.exceptions import ImageError


@pytest.fixture(scope="module")
def photos():
    return [photo[::8, ::8].copy() for photo in load_sample_images().images]


@pytest.fixture
def paths(photos, tmp_path):
    """Two photos as PNG files."""
    paths = [tmp_path / "china.png", tmp_path / "flower.png"]
    for photo, path in zip(photos, paths, strict=True):
        Image.fromarray(photo).save(path)
    return [str(path) for path in paths]


def decode_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skiqa-decode")]


# What is X? ---------------------------------------------------------------------------------------


def containers(items):
    """One sequence of things in every container that holds them."""
    array = np.empty(len(items), object)
    array[:] = items
    yield from (items, tuple(items), array, array[:, None])


def frames(items):
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    array = np.empty(len(items), object)
    array[:] = items
    series = pd.Series(array, index=range(7, 7 + len(items)))
    yield from (series, series.to_frame("photo"), pd.Index(array))
    kind = pl.Object if not isinstance(items[0], str | bytes) else None
    series = pl.Series("photo", items, dtype=kind)
    yield from (series, series.to_frame())


def test_every_container_of_every_kind(paths, photos):
    torch = pytest.importorskip("torch")
    data = [Path(path).read_bytes() for path in paths]
    for items in (
        paths,
        [Path(path) for path in paths],
        data,
        [Image.fromarray(photo) for photo in photos],
        photos,
        [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in photos],
    ):
        for X in containers(items):
            assert not is_rows(X)
            images = as_image_list(X)
            assert len(images) == 2
            for i in range(2):
                assert_array_equal(images.load(i), photos[i])
        if not hasattr(items[0], "dim"):  # data frames take tensors apart
            for X in frames(items):
                assert not is_rows(X)
                images = as_image_list(X)
                assert_array_equal(images.load(1), photos[1])


def test_string_arrays(paths, photos):
    pd = pytest.importorskip("pandas")
    for X in (
        np.array(paths),
        np.array(paths)[:, None],
        np.array(paths, dtype=np.dtypes.StringDType()),
        pd.Series(paths, dtype="string"),
        pd.Series(paths, dtype="category"),
    ):
        assert not is_rows(X)
        assert_array_equal(as_image_list(X).load(1), photos[1])


def test_mixture(paths, photos):
    torch = pytest.importorskip("torch")
    grey = photos[0][..., 0]
    images = as_image_list(
        [paths[0], photos[1], grey, Image.fromarray(grey), torch.from_numpy(grey.copy())]
    )
    for i, expected in enumerate([*photos, *[np.dstack([grey] * 3)] * 3]):
        assert_array_equal(images.load(i), expected)


def test_stacks(photos):
    torch = pytest.importorskip("torch")
    stack = np.stack([photo[:50, :60] for photo in photos])
    grey = stack[..., 0]
    chw = torch.from_numpy(stack).permute(0, 3, 1, 2)
    for X in (stack, stack.astype(object), list(stack), stack.tolist(), stack / 255, chw):
        assert not is_rows(X)
        for i in range(2):
            assert_array_equal(as_image_list(X).load(i), stack[i])
    tensor = torch.from_numpy(grey)
    for X in (grey, grey[..., None], list(grey), tensor, tensor[:, None]):
        assert not is_rows(X)
        for i in range(2):
            assert_array_equal(as_image_list(X).load(i), np.dstack([grey[i]] * 3))


def test_image_list_passes_through(paths):
    images = as_image_list(paths)
    assert as_image_list(images) is images
    assert not is_rows(images)


@pytest.mark.parametrize(
    "single",
    ["a.jpg", b"abc", Path("a.jpg"), Image.new("RGB", (2, 2)), np.str_("a.jpg"), bytearray(b"a")],
)
def test_single_image_must_be_in_a_list(single):
    assert not is_rows(single)
    with pytest.raises(TypeError, match=r"pass \[image\]"):
        as_image_list(single)


def test_directory_must_be_listed(tmp_path):
    with pytest.raises(TypeError, match="X is a directory"):
        as_image_list(tmp_path)


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64, 4), (48, 64, 1)])
def test_single_array_must_be_in_a_list(shape):
    assert not is_rows(np.zeros(shape))
    with pytest.raises(ValueError, match=r"pass \[image\], or X\[\.\.\., None\]"):
        as_image_list(np.zeros(shape))
    assert len(as_image_list([np.zeros(shape)])) == 1
    assert len(as_image_list(np.zeros(shape)[..., None])) == 48


@pytest.mark.parametrize("shape", [(3, 48, 64), (4, 48, 64)])
def test_single_tensor_must_be_in_a_list(shape):
    torch = pytest.importorskip("torch")
    assert not is_rows(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"pass \[image\], or X\[:, None\]"):
        as_image_list(torch.zeros(shape))
    assert len(as_image_list([torch.zeros(shape)])) == 1
    assert as_image_list(torch.zeros(shape)[:, None]).load(0).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "empty",
    [
        [],
        (),
        np.array([]),
        np.array([], object),
        np.array([], str),
        np.zeros((0, 8, 8)),
        np.zeros((0, 8, 8, 3)),
    ],
)
def test_empty(empty):
    assert not is_rows(empty)
    message = r"Found array with 0 sample\(s\) \(shape=\(0.*\) while a minimum of 1 is required\."
    with pytest.raises(ValueError, match=message):
        as_image_list(empty)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (None, TypeError, "not NoneType"),
        (iter(["a.jpg"]), TypeError, "not list_iterator"),
        ({"a.jpg"}, TypeError, "not set"),
        ({"a": "b.jpg"}, TypeError, "not dict"),
        ([{"a": 1}], TypeError, r"X\[0\] = <dict>: .*not dict"),
        (["a.jpg", io.BytesIO()], TypeError, r"X\[1\] = <BytesIO>: .* pass its \.read\(\)"),
        (
            [np.zeros((5, 5)), np.zeros((5, 5, 2))],
            ValueError,
            r"X\[1\] = <array \(5, 5, 2\) float64>",
        ),
        (np.zeros((2, 3, 8, 8)), ValueError, r"must be \(n, h, w\) or \(n, h, w, c\)"),
        (np.zeros((2, 2, 3, 8, 8)), ValueError, "not "),
        (np.array([["a.jpg", "b.jpg"]], object), ValueError, "X has 2 columns: pass the one"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, r"X\[0\]"),
        (np.zeros((2, 8, 8), complex), TypeError, "real numbers"),
    ],
)
def test_what_is_not_images(X, error, message):
    assert not is_rows(X)
    with pytest.raises(error, match=message):
        as_image_list(X)


def test_frame_of_several_columns():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"path": ["a.jpg"], "mos": [0.5]})
    assert not is_rows(X)
    with pytest.raises(ValueError, match="X has 2 columns: pass the one that holds the images"):
        as_image_list(X)


# Rows ---------------------------------------------------------------------------------------------


class NotAnArray:
    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_tables_of_numbers_are_rows():
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    torch = pytest.importorskip("torch")
    table = np.arange(12.0).reshape(3, 4)
    for X in (
        table, table.astype(int), table > 3, table.astype(complex), table.astype(object),
        table.tolist(), [tuple(row) for row in table], list(table), [[1.0, 2.0], [3.0]], [[], []],
        table[:, :1], table[:, :1].astype(object), np.array([[{"a": 1}, 2.0]], object),
        NotAnArray(table), pd.DataFrame(table), pl.DataFrame(table), pd.DataFrame(table[:, :1]),
        pd.DataFrame({"a": [1, None]}, dtype="Int64"), sparse.csr_array(table),
        torch.from_numpy(table), table[:0], table[:, :0],
        # fewer dimensions: scikit-learn says what is wrong
        table[0], list(table[0]), np.float64(3), 3, torch.from_numpy(table[0]), pd.Series(table[0]),
        np.array([1, 2], object), [np.nan, 1.0], [np.nan, np.nan], [True, False],
    ):  # fmt: skip
        assert is_rows(X), X


def test_plain_rows_span_the_range():
    rows = np.array([[-3, 102, 49.5], [7, 7, 7], [1e-30, 3e-30, 2e-30]], np.float32)
    images = rows_as_images(rows)
    expected = [[0, 255, 128], [0, 0, 0], [0, 255, 128]]
    for i in range(3):
        assert images.load(i).shape == (1, 3, 3)
        assert_array_equal(images.load(i)[0, :, 0], expected[i])
    assert_array_equal(as_image_list(rows).load(0), images.load(0))
    wide = np.array([[-1.7e308, 1.7e308, 0]])
    assert_array_equal(rows_as_images(wide).load(0)[0, :, 0], [0, 255, 128])


def test_rows_must_be_finite():
    with pytest.raises(ValueError, match=r"X\[1\] contains NaN or infinity"):
        rows_as_images(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"0 feature\(s\) \(shape=\(2, 0\)\)"):
        rows_as_images(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="2-D array of numbers, not 2-D of object"):
        rows_as_images(np.array([[1, {}]], object))


def test_rows_are_pixels_with_a_shape(photos):
    small = photos[0][:6, :5]
    for rows in (
        small.reshape(1, -1),
        small.reshape(1, -1) / 255,
        small.reshape(1, -1).astype(int),
    ):
        assert_array_equal(rows_as_images(rows, (6, 5, 3)).load(0), small)
    grey = rows_as_images(small[..., 0].reshape(1, -1), image_shape=(6, 5)).load(0)
    assert_array_equal(grey, np.dstack([small[..., 0]] * 3))
    with pytest.raises(
        ValueError, match=r"image_shape=\(8, 8\) takes 64 values, but X has 90 features"
    ):
        rows_as_images(small.reshape(1, -1), (8, 8))
    with pytest.raises(ValueError, match="c = 1, 3 or 4"):
        rows_as_images(small.reshape(1, -1), (9, 5, 2))
    with pytest.raises(ValueError, match=r"found 0\.\.16; divide by"):
        rows_as_images(np.array([[0.0, 16.0]]), (1, 2)).load(0)


# Errors, digests ----------------------------------------------------------------------------------


def test_error_names_index_source_and_remedy(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(paths[0]).read_bytes()[:2000])
    images = as_image_list([*paths, str(broken), np.full((2, 2), 300.0)])
    with pytest.raises(ImageError) as caught:
        images.load(2)
    message = str(caught.value)
    assert message.startswith(f"X[2] = {str(broken)!r}: the file is truncated")
    assert message.endswith("; remove it from X, or pass on_error='nan' to get a row of NaN")
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(
        ValueError, match=r"X\[3\] = <array \(2, 2\) float64>: float values"
    ) as caught:
        images.load(3)
    assert type(caught.value) is ValueError


def test_gap_in_a_column_is_an_unreadable_image(paths):
    pd = pytest.importorskip("pandas")
    for gap in (None, np.nan, pd.NA):
        for X in ([paths[0], gap], [gap, paths[0]], pd.Series([paths[0], gap])):
            images = as_image_list(X)
            outcomes = [image for _, image in iter_decoded(images, on_error="nan")]
            assert sum(isinstance(image, ImageError) for image in outcomes) == 1
            assert sum(isinstance(image, np.ndarray) for image in outcomes) == 1


def test_digest_follows_the_content(paths, photos, tmp_path):
    data = Path(paths[0]).read_bytes()
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    lossy = Image.fromarray(photos[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    lossy.save(buffer, "PNG", exif=turned)
    grey = photos[0][..., 0]
    images = as_image_list([
        paths[0], copy, data,
        photos[0], Image.fromarray(photos[0]), photos[0] / 255,
        photos[1], Image.open(io.BytesIO(buffer.getvalue())), grey, np.dstack([grey] * 3), grey.T,
    ])  # fmt: skip
    digests = [images.digest(i) for i in range(len(images))]
    assert all(isinstance(d, bytes) and len(d) == 32 for d in digests)
    assert len(set(digests[:3])) == 1
    assert len(set(digests[3:6])) == 1
    assert digests[8] == digests[9]
    assert len(set(digests)) == 6


def test_digest_errors_are_those_of_reading(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image, but bytes")
    images = as_image_list([str(broken), str(tmp_path / "missing.png"), None, np.zeros((0, 3))])
    assert len(images.digest(0)) == 32
    for i in (1, 2, 3):
        with pytest.raises(ImageError, match=rf"X\[{i}\] = "):
            images.digest(i)


def test_image_list_pickles(paths, photos):
    images = pickle.loads(pickle.dumps(as_image_list([paths[0], photos[1]])))
    assert_array_equal(images.load(0), photos[0])
    assert images.source(0) == repr(paths[0])


# Sizes --------------------------------------------------------------------------------------------


def test_resize_is_pillows(photos):
    height, width = photos[0].shape[:2]
    expected = Image.fromarray(photos[0]).resize((width // 2, height // 2), Image.BICUBIC)
    resized = resize(photos[0], 0.5)
    assert_array_equal(resized, np.asarray(expected))
    assert resized.flags.writeable
    assert resize(photos[0], 1) is photos[0]
    assert resize(photos[0], 1.0) is photos[0]
    assert resize(photos[0][:1, :3], 0.5).shape == (1, 1, 3)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
@settings(database=None, deadline=None, max_examples=50)
def test_pad_reflects_on_both_sides(height, width, minimum):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    padded = pad_to(image, minimum)
    assert padded.shape == (max(height, minimum), max(width, minimum), 3)
    top, left = (max(0, minimum - side) // 2 for side in (height, width))
    assert_array_equal(padded[top : top + height, left : left + width], image)
    if width > 1 and left > 0:
        assert_array_equal(padded[top, left - 1], image[0, 1])
    if width == 1:
        assert (padded == padded[:, :1]).all()
    if height >= minimum and width >= minimum:
        assert padded is image


# Decoding ahead -----------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    n_jobs=st.sampled_from([None, 1, 2, 3]),
    prefetch=st.integers(0, 5),
    data=st.data(),
)
@settings(database=None, deadline=None, max_examples=25)
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


def test_all_cores(paths, photos):
    pairs = list(iter_decoded(as_image_list(paths * 5), n_jobs=-1))
    for i, image in pairs:
        assert_array_equal(image, photos[i % 2])
    assert not decode_threads()


class Gated:
    """Images that tell how many were begun, and can be made to wait."""

    def __init__(self, n, *, fails=()):
        self.n, self.fails, self.begun = n, fails, []
        self.gate = threading.Event()
        self.gate.set()

    def __len__(self):
        return self.n

    def load(self, index):
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


@pytest.mark.parametrize(("n_jobs", "prefetch", "window"), [(None, 4, 4), (2, 5, 5), (3, 1, 3)])
def test_decodes_ahead_and_no_further(n_jobs, prefetch, window):
    images = Gated(30)
    decoded = iter_decoded(images, n_jobs=n_jobs, prefetch=prefetch)
    for taken in range(1, 4):
        next(decoded)
        wait_for(lambda expected=taken + window: len(images.begun) == expected)
        threading.Event().wait(0.02)
        assert len(images.begun) == taken + window
    decoded.close()
    assert not decode_threads()
    assert len(images.begun) == 3 + window


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


def test_yielded_error_keeps_no_pixels_alive(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(paths[0]).read_bytes()[:2000])
    ((_, error),) = iter_decoded(as_image_list([str(broken)]), on_error="nan")
    while error is not None:
        assert error.__traceback__ is None
        error = error.__cause__ or error.__context__


def test_many_consumers_at_once(paths, photos):
    images = as_image_list(paths * 4)

    def consume(_):
        return [image for _, image in iter_decoded(images, n_jobs=2)]

    with ThreadPoolExecutor(4) as executor:
        for result in executor.map(consume, range(4)):
            for i, image in enumerate(result):
                assert_array_equal(image, photos[i % 2])


def test_nothing_to_decode():
    assert list(iter_decoded(Gated(5), indices=[])) == []
    assert not decode_threads()


def test_n_jobs_zero():
    with pytest.raises(ValueError, match="n_jobs"):
        next(iter_decoded(Gated(5), n_jobs=0))


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


def test_making_the_list_opens_no_file(paths):
    assert len(ImageList([*paths, "missing.jpg"])) == 3
