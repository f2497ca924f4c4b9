import numpy as np
import pytest
from authentic_trees import agiqa3k, bid, biq2021, cid2013, clive, flive, koniq10k, uhd_iqa
from database_trees import check, write_csv
from scipy.io import savemat

from skiqa import datasets


def test_koniq_without_sets(tmp_path):
    expected = koniq10k(tmp_path, sets=False)
    check(datasets.load_koniq10k(tmp_path), tmp_path, expected)


def test_koniq_small_images(tmp_path):
    expected = koniq10k(tmp_path)
    for name in expected["data"]:
        (tmp_path / name).unlink()
    found = datasets.load_koniq10k(tmp_path)
    assert all("512x384" in path for path in found.data)


def test_unknown_part_of_a_split(tmp_path):
    koniq10k(tmp_path)
    file = tmp_path / "koniq10k_distributions_sets.csv"
    file.write_text(file.read_text().replace("training", "holdout"))
    with pytest.raises(ValueError, match=r"parts of the split are \['holdout'\]"):
        datasets.load_koniq10k(tmp_path)


def test_clive_of_unequal_lengths(tmp_path):
    clive(tmp_path)
    savemat(tmp_path / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.ones((1, 9))})
    with pytest.raises(ValueError, match="10 names, 9 scores and 10 deviations"):
        datasets.load_clive(tmp_path)


def test_flive_without_split_files(tmp_path):
    expected = flive(tmp_path, split=False)
    check(datasets.load_flive(tmp_path), tmp_path, expected)
    # labels beside the folder of images, as others have it
    (tmp_path / "database" / "labels_image.csv").rename(tmp_path / "labels_image.csv")
    check(datasets.load_flive(tmp_path), tmp_path, expected)


def test_bid_of_no_grades(tmp_path):
    bid(tmp_path)
    write_csv(tmp_path / "DatabaseGrades.csv", [("Image", "Grade")])
    with pytest.raises(ValueError, match="no row starts with the number of an image"):
        datasets.load_bid(tmp_path)


def test_cid_in_one_folder(tmp_path):
    cid2013(tmp_path, together=True)
    expected = {
        "data": ["IS_I_C01_D01.jpg", "IS_V_C05_D03.jpg", "IS_VI_C08_D14.jpg"],
        "target": [61.2, 81.7490154913675, 10.4809695268716],
        "groups": ["C01", "C05", "C08"],
    }
    check(datasets.load_cid2013(tmp_path), tmp_path, expected)


def test_cid_of_other_names(tmp_path):
    cid2013(tmp_path)
    file = tmp_path / "CID2013 data - version 12112014.csv"
    file.write_text(file.read_text().replace("IS_V_C05_D03", "photo7"))
    with pytest.raises(ValueError, match="Source_ID 'photo7' is not like"):
        datasets.load_cid2013(tmp_path)


def test_biq2021_of_later_versions(tmp_path):
    expected = biq2021(tmp_path, later=True)
    check(datasets.load_biq2021(tmp_path), tmp_path, expected)
    file = tmp_path / "Train.csv"
    file.write_text(file.read_text().partition("\n")[2])  # no header
    check(datasets.load_biq2021(tmp_path), tmp_path, expected)
    (tmp_path / "Test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no Test\.csv"):
        datasets.load_biq2021(tmp_path)


def test_uhd_iqa_in_one_folder(tmp_path):
    expected = uhd_iqa(tmp_path, together=True)
    check(datasets.load_uhd_iqa(tmp_path), tmp_path, expected)


def test_agiqa_in_a_folder_of_images(tmp_path):
    expected = agiqa3k(tmp_path)
    (tmp_path / "images").mkdir()
    for name in expected["data"]:
        (tmp_path / name).rename(tmp_path / "images" / name)
    expected["data"] = [f"images/{name}" for name in expected["data"]]
    check(datasets.load_agiqa3k(tmp_path), tmp_path, expected)
