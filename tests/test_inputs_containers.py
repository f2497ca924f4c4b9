import io
from array import array
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from scipy import sparse

from skiqa import ContrastiveQualityEncoder
from skiqa._inputs.containers import as_image_list, is_rows


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


def test_every_container_of_every_kind(png_paths, small_photos):
    torch = pytest.importorskip("torch")
    data = [Path(path).read_bytes() for path in png_paths]
    for items in (
        png_paths,
        [Path(path) for path in png_paths],
        data,
        [Image.fromarray(photo) for photo in small_photos],
        small_photos,
        [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in small_photos],
    ):
        for X in containers(items):
            assert not is_rows(X)
            images = as_image_list(X)
            assert len(images) == 2
            for i in range(2):
                assert_array_equal(images.load(i), small_photos[i])
        if not hasattr(items[0], "dim"):  # data frames take tensors apart
            for X in frames(items):
                assert not is_rows(X)
                images = as_image_list(X)
                assert_array_equal(images.load(1), small_photos[1])


def test_string_arrays(png_paths, small_photos):
    pd = pytest.importorskip("pandas")
    for X in (
        np.array(png_paths),
        np.array(png_paths)[:, None],
        np.array(png_paths, dtype=np.dtypes.StringDType()),
        pd.Series(png_paths, dtype="string"),
        pd.Series(png_paths, dtype="category"),
    ):
        assert not is_rows(X)
        assert_array_equal(as_image_list(X).load(1), small_photos[1])


def test_mixture(png_paths, small_photos):
    torch = pytest.importorskip("torch")
    grey = small_photos[0][..., 0]
    images = as_image_list(
        [png_paths[0], small_photos[1], grey, Image.fromarray(grey), torch.from_numpy(grey.copy())]
    )
    for i, expected in enumerate([*small_photos, *[np.dstack([grey] * 3)] * 3]):
        assert_array_equal(images.load(i), expected)


def test_stacks(small_photos):
    torch = pytest.importorskip("torch")
    stack = np.stack([photo[:50, :60] for photo in small_photos])
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


def test_image_list_passes_through(png_paths):
    images = as_image_list(png_paths)
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
    arrays = [table, table.astype(int), table > 3, table.astype(complex), table.astype(object)]
    column = table[:, :1]
    columns = [column, column.astype(object), pd.DataFrame(column)]
    sequences = [table.tolist(), [tuple(row) for row in table], list(table)]
    ragged_or_odd = [[[1.0, 2.0], [3.0]], [[], []], np.array([[{"a": 1}, 2.0]], object)]
    frames = [
        pd.DataFrame(table),
        pl.DataFrame(table),
        pd.DataFrame({"a": [1, None]}, dtype="Int64"),
    ]
    others = [NotAnArray(table), sparse.csr_array(table), torch.from_numpy(table)]
    empty = [table[:0], table[:, :0]]
    for X in (*arrays, *columns, *sequences, *ragged_or_odd, *frames, *others, *empty):
        assert is_rows(X), X


def test_numbers_in_fewer_dimensions_are_rows():
    """scikit-learn says what is wrong with them."""
    pd = pytest.importorskip("pandas")
    torch = pytest.importorskip("torch")
    line = np.arange(4.0)
    lines = [line, list(line), torch.from_numpy(line), pd.Series(line), np.array([1, 2], object)]
    gaps = [[np.nan, 1.0], [np.nan, np.nan]]
    for X in (*lines, *gaps, [True, False], np.float64(3), 3):
        assert is_rows(X), X


@pytest.mark.parametrize(
    "X",
    [
        [5],
        (1.0, 2.0),
        [None, 3],
        [np.nan, np.nan],
        [True],
        5,
        np.float32(5),
        np.arange(3),
        np.array(2.0),
        array("d", [1, 2]),
    ],
    ids=repr,
)
def test_lone_numbers_are_no_images(X):
    _refused(X)


def test_lone_numbers_of_other_libraries():
    _refused(pytest.importorskip("pandas").Series([1, 2]))
    _refused(pytest.importorskip("polars").Series([1, 2]))
    _refused(pytest.importorskip("torch").arange(3))


def _refused(X):
    message = "lone numbers, where each entry must be an image.*Reshape your data"
    with pytest.raises(ValueError, match=message):
        as_image_list(X)
    with pytest.raises(ValueError, match=message):
        ContrastiveQualityEncoder().fit(X)
