import csv
import sys
import warnings

import numpy as np
import pytest
from authentic_trees import spaq, spaq_sheet
from database_trees import check
from scipy.io import savemat
from synthetic_trees import csiq, csiq_sheet

from skiqa import datasets
from skiqa.datasets._tables import parse_floats, read_columns, read_mat, read_rows


def test_sheets_need_openpyxl_or_a_csv(tmp_path, monkeypatch):
    spaq(tmp_path)
    file = tmp_path / "Annotations" / "MOS and Image attribute scores.csv"
    file.rename(file.with_suffix(".xlsx"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"pip install openpyxl, or save it as .*\.csv beside it"):
        datasets.load_spaq(tmp_path)


def test_excel_sheets(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")

    def write(file, sheet, rows):
        workbook = openpyxl.Workbook()
        workbook.active.title = "other"
        page = workbook.create_sheet(sheet) if sheet else workbook.active
        for row in rows:
            page.append(row)
        file.parent.mkdir(parents=True, exist_ok=True)
        workbook.save(file)

    expected = csiq(tmp_path / "csiq", kind="images")
    write(tmp_path / "csiq" / "csiq.DMOS.xlsx", "all_by_image", csiq_sheet())
    check(datasets.load_csiq(tmp_path / "csiq"), tmp_path / "csiq", expected)
    expected = spaq(tmp_path / "spaq")
    file = tmp_path / "spaq" / "Annotations" / "MOS and Image attribute scores.csv"
    write(file.with_suffix(".xlsx"), None, spaq_sheet())
    file.unlink()
    check(datasets.load_spaq(tmp_path / "spaq"), tmp_path / "spaq", expected)
    write(tmp_path / "csiq" / "csiq.DMOS.xlsx", "by_mistake", csiq_sheet())
    with pytest.raises(ValueError, match=r"has no sheet 'all_by_image', only \["):
        datasets.load_csiq(tmp_path / "csiq")


def test_tables(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("\ufeffcomment\n\nImage  Name, Mos ,x\na.jpg, 3 ,1\n,,\nb.jpg,,2\n", "utf-8")
    assert read_columns(file, "image_name", "MOS") == [["a.jpg", "b.jpg"], ["3", ""]]
    with pytest.raises(ValueError, match=r"has no columns \['nonsense'\]"):
        read_columns(file, "nonsense")
    assert parse_floats(["1", 2, "3e-1"], file).tolist() == [1, 2, 0.3]


NAMES = ["a.jpg", "Größe, groß.jpg", "it's.jpg", 'the "x;y".jpg', "a|b.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("comma", [False, True], ids=["point", "comma"])
def test_one_reader_for_all_tables(tmp_path, encoding, delimiter, comma):
    file = tmp_path / "t.csv"
    ratings = ["3.5", "4.25", "1", "2.0", "1.75"]
    column = "mos (1 = worst, 5 = best)"
    with open(file, "w", newline="", encoding=encoding) as lines:
        writer = csv.writer(lines, delimiter=delimiter)
        writer.writerow(["file", column])
        for name, rating in zip(NAMES, ratings, strict=True):
            writer.writerow([name, rating.replace(".", ",") if comma else rating])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        names, texts = read_columns(file, "file", column)
        numbers = parse_floats(texts, file)
    assert names == NAMES
    assert numbers.tolist() == [float(rating) for rating in ratings]
    said = "".join(str(warning.message) for warning in said)
    assert said.count(str(file)) == (not encoding.startswith("utf-8") or delimiter != ",") + comma
    assert ("decimal commas" in said) == comma
    assert ("separated by" in said) == (delimiter != ",")
    assert ("encoding" in said) == (not encoding.startswith("utf-8"))


def test_excels_own_word_for_the_delimiter(tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes(b"sep=;\r\nfile;mos\r\na,b.jpg;3\r\n")
    with pytest.warns(UserWarning, match="semicolons"):
        assert read_columns(file, "file", "mos") == [["a,b.jpg"], ["3"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'file,mos\n"a.jpg,3\nb.jpg,4\n', "line 3: .* quote not closed"),  # would be one row
        (b"PK\x03\x04...", "is a spreadsheet"),
        (b"\xd0\xcf\x11\xe0...", "is a spreadsheet"),
        (b"file,mos\n\x81.jpg,3\n", "is no text in"),
        (b"", "first row is missing"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, data, message):
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        read_columns(file, "file", "mos")


def test_damaged_files_of_libraries_are_named(tmp_path):
    pytest.importorskip("openpyxl").Workbook().save(tmp_path / "t.xlsx")
    savemat(tmp_path / "t.mat", {"MOS": np.arange(300.0)})
    for name, read in (("t.xlsx", read_rows), ("t.mat", read_mat)):
        whole = (tmp_path / name).read_bytes()
        n = len(whole)
        for data in (b"", whole[:-200], whole[: n // 2], whole[: n // 3] + whole[n // 2 :]):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(ValueError, match=rf"{name} is no .*, or it is damaged"):
                read(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(FileNotFoundError):
            read(tmp_path / name)
        (tmp_path / name).write_bytes(whole)
    with pytest.raises(ValueError, match=r"t\.mat has no variable 'DMOS', only \['MOS'\]"):
        read_mat(tmp_path / "t.mat")["DMOS"]


@pytest.mark.parametrize(
    "value", ["inf", "-Infinity", "1e999", "nan", "1.234,5", "1,2,3", "", "NA"]
)
def test_numbers_that_are_none_are_named(tmp_path, value):
    with pytest.raises(ValueError, match=rf"t\.csv: {value!r}, row 2, is no finite number"):
        parse_floats(["1.5", value], tmp_path / "t.csv")


def test_what_is_missing(tmp_path):
    words = ["NA", "n/a", "NaN", "null", "-", ""]
    with pytest.warns(UserWarning, match="5 cells such as 'NA' are taken to be empty"):
        found = parse_floats(["1", *words], tmp_path / "t.csv", missing=True)
    assert np.isnan(found).tolist() == [False] + [True] * 6
    assert np.isnan(
        parse_floats([""], tmp_path / "t.csv", missing=True)
    ).all()  # no word: no warning
