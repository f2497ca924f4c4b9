import sys

import pytest
from authentic_trees import spaq, spaq_sheet
from database_trees import check
from synthetic_trees import csiq, csiq_sheet

from skiqa import datasets
from skiqa.datasets._tables import parse_floats, read_columns


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
    assert parse_floats(["1", 2, "nan"], file)[1] == 2
