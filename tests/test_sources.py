"""Pictures of shards and addresses are those of the files that went into them."""

import io
import sys
import tarfile
import threading
import tracemalloc
import zipfile

import pytest
from PIL import Image

from skiqa._inputs.addresses import MissingPackage
from skiqa._sources import reading
from skiqa._sources.kinds import is_shard, path_of
from skiqa._sources.places import places_at
from skiqa._sources.tables import ColumnError
from skiqa.exceptions import ImageError
from skiqa.sources import iter_images


@pytest.fixture
def pictures(crops):
    """Eight PNG files as bytes."""
    encoded = []
    for crop in crops:
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as shard:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.fixture
def tar(pictures, tmp_path):
    """As WebDataset has it: key and extension, with what is no picture in between."""
    members = [("._0.png", b"x"), ("0.json", b"{}")]
    for key, data in enumerate(pictures):
        members += [(f"train/{key:04d}.png", data), (f"train/{key:04d}.cls", b"1")]
    return write_tar(tmp_path / "a.tar", members)


@pytest.fixture
def write_table(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def write(name="a.parquet", **columns):
        table = pa.table(columns)
        path = str(tmp_path / name)
        if name.endswith(".parquet"):
            pq.write_table(table, path, row_group_size=3)
        else:  # a stream, as of Hugging Face data sets, or a file
            new = pa.ipc.new_stream if name.endswith(".arrow") else pa.ipc.new_file
            with new(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
        return path

    return write


@pytest.fixture
def memory():
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def images_of(*places, **how):
    return [image for _, image in iter_images(places, **how)]


def names_of(*places, **how):
    return [name for name, _ in iter_images(places, **how)]


def test_files_are_passed_on_as_they_are(tmp_path):
    places = [str(tmp_path / "a.jpg"), tmp_path / "b.tar.jpg"]
    assert list(iter_images(places)) == [(str(place), str(place)) for place in places]
    assert list(iter_images(places[0])) == [(places[0], places[0])]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_in_order_by_name(tar, pictures, mode, tmp_path):
    with tarfile.open(tar) as shard:
        members = [(m.name, shard.extractfile(m).read()) for m in shard]
    packed = write_tar(tmp_path / "b.tar.gz", members, mode)  # whatever its name says
    assert images_of(packed) == pictures
    assert names_of(packed) == [f"tar://train/{key:04d}.png::{packed}" for key in range(8)]


def test_name_of_a_member_is_an_address(tar, pictures):
    pytest.importorskip("fsspec")
    name = names_of(tar)[3]
    assert images_of(name) == pictures[3:4]
    assert not is_shard(name)


def test_what_is_not_wanted_is_not_read(tar, pictures):
    assert images_of(tar, wanted=lambda name: "0002" not in name) == pictures[:2] + pictures[3:]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_shard_that_is_cut_off_gives_what_is_there_and_an_error(tar, pictures, part, tmp_path):
    with open(tar, "rb") as file:
        whole = file.read()
    size = sum(512 + len(data) + 512 for data in pictures)
    torn = tmp_path / "torn.tar"
    torn.write_bytes(whole[: int(part * size)])
    *found, last = images_of(torn)
    assert found == pictures[: len(found)]
    assert len(found) < 8
    assert isinstance(last, ImageError)
    assert "the shard is damaged from here on" in last.reason


def test_member_that_is_too_large_is_an_error(tar, pictures, monkeypatch):
    monkeypatch.setattr("skiqa._sources.tar.LARGEST", len(pictures[3]) - 1)
    found = dict(iter_images(tar))
    too_large = {name for name, image in found.items() if isinstance(image, ImageError)}
    assert too_large == {
        f"tar://train/{key:04d}.png::{tar}"
        for key, data in enumerate(pictures)
        if len(data) >= len(pictures[3])
    }
    assert {found[name].kind for name in too_large} == {"too_large"}


def test_members_of_a_shard_are_not_kept(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [(f"{key:06d}.cls", b"1") for key in range(3000)])
    tracemalloc.start()
    try:
        assert not images_of(shard)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_shards_that_cannot_be_read_are_one_row_each(tar, tmp_path, pictures):
    (tmp_path / "no.tar").write_bytes(b"this is no archive" * 100)
    (tmp_path / "empty.tar").touch()
    with tarfile.open(tmp_path / "links.tar", "w") as shard:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        shard.addfile(link)
    places = [tmp_path / name for name in ("no.tar", "none.tar", "empty.tar", "links.tar")]
    found = list(iter_images([*places, tar]))
    assert [image for _, image in found[4:]] == pictures
    reasons = [image.reason for _, image in found[:4]]
    assert "damaged" in reasons[0]
    assert reasons[1] == "there is no such file"
    assert "damaged" in reasons[2]
    assert "not a regular file" in reasons[3]
    assert found[3].name == f"tar://a.jpg::{places[3]}"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather"])
def test_tables_of_bytes(write_table, pictures, name):
    rows = [{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(pictures)]
    for column in (pictures, rows):  # plain, and as of Hugging Face data sets
        table = write_table(name, label=list(range(8)), caption=["x"] * 8, image=column)
        assert images_of(table) == pictures
        assert names_of(table) == [f"{table}#{number}" for number in range(8)]


def test_gaps_in_a_table_are_rows(write_table, pictures):
    assert images_of(write_table(image=[pictures[0], None, pictures[1]])) == [
        pictures[0],
        None,
        pictures[1],
    ]
    table = write_table(url=["a.png", None, ""])
    assert names_of(table)[1:] == [f"{table}#1", f"{table}#2"]


def test_table_of_addresses(write_table, pictures, memory, tmp_path):
    memory.pipe({f"/p/{n}.png": data for n, data in enumerate(pictures)})
    (tmp_path / "here.png").write_bytes(pictures[0])
    urls = ["here.png", *[f"memory://p/{n}.png" for n in range(8)], "memory://p/none.png"]
    *found, last = iter_images(write_table(n=[1] * 10, url=urls))
    assert found[0] == (str(tmp_path / "here.png"),) * 2  # beside the table
    assert [image for _, image in found[1:]] == pictures
    assert [name for name, _ in found[1:]] == urls[1:-1]
    assert last.image.kind == "missing"


def test_table_at_an_address_names_what_is_beside_it(write_table, pictures, memory):
    table = write_table(path=["b.png", "below/c.png"])
    memory.pipe({"/p/b.png": pictures[0], "/p/below/c.png": pictures[1]})
    with open(table, "rb") as file:
        memory.pipe("/p/table.parquet", file.read())
    assert list(iter_images("memory://p/table.parquet")) == [
        ("memory://p/b.png", pictures[0]),
        ("memory://p/below/c.png", pictures[1]),
    ]


def test_table_in_an_archive_names_what_is_in_it(write_table, pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(write_table(path=["b.png"]), "below/table.parquet")
        archive.writestr("below/b.png", pictures[0])
    chain = f"::file://{tmp_path}/a.zip"
    found = list(iter_images(f"zip://below/table.parquet{chain}"))
    assert found == [(f"zip://below/b.png{chain}", pictures[0])]


def test_archives_that_are_lost_or_none_are_rows(pictures, tmp_path):
    """As skiqa names members, and reads its own lists again."""
    (tmp_path / "none.zip").write_bytes(b"no archive")
    (tmp_path / "b[1].png").write_bytes(pictures[0])
    (tmp_path / "b1.png").write_bytes(b"another")
    lost = f"tar://0.png::file://{tmp_path}/gone.tar", f"zip://0.png::file://{tmp_path}/none.zip"
    places = [place for name in lost for place in places_at(name, recursive=False)]
    assert places == list(lost)
    places += places_at(f"file://{tmp_path}/b[1].png", recursive=False)  # a name, no pattern
    *errors, (_, image) = iter_images(places)
    assert [type(error) for _, error in errors] == [ImageError] * 2
    assert image == pictures[0]


@pytest.mark.parametrize("kind", ["large_binary", "binary_view", "by number"])
def test_however_arrow_keeps_bytes(pictures, kind, tmp_path):
    pa = pytest.importorskip("pyarrow")
    if kind == "by number":
        column = pa.array(pictures).dictionary_encode()
    else:
        column = pa.array(pictures, getattr(pa, kind)())
    table = pa.table({"data": column, "note": pa.array(["x"] * 8, pa.string_view())})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert images_of(str(tmp_path / "a.arrow")) == pictures


def test_column_is_found_or_named(write_table, pictures):
    table = write_table(mask=[b"x"] * 8, picture=pictures, path=["x"] * 8)
    assert images_of(table) == pictures
    assert images_of(table, column="mask") == [b"x"] * 8
    with pytest.raises(ColumnError, match="no column 'label' of bytes or of addresses"):
        images_of(table, column="label")
    with pytest.raises(ColumnError, match=r"columns \['a', 'b'\]: say which of them"):
        images_of(write_table(a=pictures, b=pictures))
    with pytest.raises(ColumnError, match="no column of bytes or of addresses"):
        images_of(write_table(label=[1]))


def test_tables_that_cannot_be_read_are_one_row_each(write_table, tmp_path, pictures):
    whole = write_table(image=pictures)
    with open(whole, "rb") as file:
        (tmp_path / "torn.parquet").write_bytes(file.read()[:-100])
    (tmp_path / "no.arrow").write_bytes(b"no table")
    places = [
        tmp_path / name for name in ("torn.parquet", "none.parquet", "no.arrow", "none.arrow")
    ]
    found = images_of(*places, whole)
    assert [image.kind for image in found[:4]] == ["damaged", "missing", "damaged", "missing"]
    assert found[4:] == pictures


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackage, match=r"pip install 'skiqa\[sources\]'"):
        images_of(tmp_path / "a.parquet")


def test_addresses_and_shards_at_addresses(tar, pictures, memory):
    with open(tar, "rb") as file:
        memory.pipe("/shards/a.tar", file.read())
    memory.pipe("/p/0.png", pictures[0])
    places = ["memory://p/0.png", "memory://shards/a.tar", "memory://p/1.png"]
    found = list(iter_images(places))
    assert [image for _, image in found[:-1]] == [pictures[0], *pictures]
    assert found[1].name == "tar://train/0000.png::memory://shards/a.tar"
    assert found[-1].name == places[-1]
    assert found[-1].image.kind == "missing"


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("a.tar", "a.tar"),
        ("https://h/a.tar?version=2.jpg", "/a.tar"),
        ("tar://a.jpg::https://h/a.tar", "a.jpg"),
        ("simplecache::s3://b/a.tar", "b/a.tar"),
        ("s3://b/a?.tar", "b/a?.tar"),
    ],
)
def test_path_in_an_address(place, path):
    assert path_of(place) == path


def test_reading_ahead_is_bounded_in_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "BYTES_AHEAD", 10_000)
    drawn = []

    def wanted(name):
        drawn.append(name)
        return True

    shard = write_tar(tmp_path / "a.tar", [(f"{n:03d}.png", bytes(1000)) for n in range(200)])
    found = iter_images(shard, wanted=wanted)
    for n, _ in enumerate(found):
        # ten wait in the thread, ten behind it, and one is in hand there, and here, each
        assert len(drawn) - n <= 2 * 10 + 3
    assert n == 199


def test_threads_end_with_the_generator(tar):
    before = set(threading.enumerate())
    found = iter_images(tar)
    next(found)
    found.close()
    assert set(threading.enumerate()) <= before
