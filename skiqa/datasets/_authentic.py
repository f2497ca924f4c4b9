"""Databases of images as they came: photographs, and images generated from text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from skiqa.datasets._base import SPLITS, TEXAS_LICENSE, Columns, Database, loader
from skiqa.datasets._files import find_image_folder, find_path
from skiqa.datasets._tables import cell_texts, parse_floats, read_columns, read_mat, read_rows

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}


@loader(
    name="CLIVE",
    images="1,162 photographs by many mobile cameras (and 7 training images, left out here).",
    opinions="MOS, 0 to 100, higher is better; target = MOS.",
    layout="""
        ChallengeDB_release/
          Data/AllImages_release.mat, AllMOS_release.mat, AllStdDev_release.mat
          Images/3.bmp, ..., trainingImages/t1.bmp, ...
        """,
    source="the readme of the database and public code: the first 7 entries of each file are the "
    "training images.",
    citation="D. Ghadiyaram, A. C. Bovik, 'Massive online crowdsourced study of subjective and "
    "objective picture quality', IEEE Trans. Image Process. 25(1), 2016.",
    url="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
    license=TEXAS_LICENSE,
    scores=(0, 100),
)
def load_clive(root: Path, database: Database) -> Columns:
    """Load the LIVE In the Wild Challenge database (CLIVE, LIVE-C)."""
    folder = database.find(root, "Data/AllImages_release.mat").parent
    names = cell_texts(read_mat(folder / "AllImages_release.mat")["AllImages_release"])
    mos, spread = (
        read_mat(database.find(folder, f"{key}.mat"))[key].reshape(-1)
        for key in ("AllMOS_release", "AllStdDev_release")
    )
    if not len(names) == len(mos) == len(spread):
        raise ValueError(
            f"CLIVE: {len(names)} names, {len(mos)} scores and {len(spread)} deviations in {folder}"
        )
    return Columns(
        root=folder.parent,
        data=[f"Images/{name}" for name in names[7:]],
        target=mos[7:],
        target_std=spread[7:],
    )


@loader(
    name="KonIQ-10k",
    images="10,073 photographs from the web; official split 7,058 / 1,000 / 2,015.",
    opinions="MOS, 0 to 100 (of z-scores), higher is better; target = MOS. target_std is published "
    "for the five-point ratings, 1 to 5, and stays on that scale.",
    layout="""
        koniq10k/
          koniq10k_distributions_sets.csv          image_name, ..., MOS, SD, set
          or koniq10k_scores_and_distributions.csv image_name, ..., SD, MOS_zscore (no split)
          1024x768/*.jpg (or 512x384/)
        """,
    source="the CSV of sets in the authors' repository subpic/koniq; the other by public code.",
    citation="V. Hosu, H. Lin, T. Sziranyi, D. Saupe, 'KonIQ-10k: an ecologically valid database "
    "for deep learning of blind image quality assessment', IEEE Trans. Image Process. 29, 2020.",
    url="http://database.mmsp-kn.de/koniq-10k-database.html",
    scores=(0, 100),
)
def load_koniq10k(root: Path, database: Database) -> Columns:
    """Load KonIQ-10k: photographs from the web, with an official split."""
    sets = "koniq10k_distributions_sets.csv"
    file = database.find(root, sets, "koniq10k_scores_and_distributions.csv")
    root, split = file.parent, None
    if file.name == sets:
        names, mos, spread, split = read_columns(file, "image_name", "MOS", "SD", "set")
        split = _official_parts(split, file)
    else:
        names, mos, spread = read_columns(file, "image_name", "MOS_zscore", "SD")
    folder = find_image_folder(root, ["1024x768", "512x384"], names[0])
    return Columns(
        root=root,
        data=[folder + name for name in names],
        target=parse_floats(mos, file),
        target_std=parse_floats(spread, file),
        split=split,
    )


def _official_parts(values: Iterable[str], file: Path) -> list[str]:
    """Return "train", "val" or "test" for each of the database's own words for them."""
    unknown = sorted({str(value) for value in values} - set(SPLITS))
    if unknown:
        raise ValueError(f"{file}: parts of the split are {unknown}, known are {sorted(SPLITS)}")
    return [SPLITS[value] for value in values]


@loader(
    name="SPAQ",
    images="11,125 photographs by 66 smartphones, large.",
    opinions="MOS, 0 to 100, higher is better; target = MOS.",
    layout="""
        SPAQ/
          Annotations/MOS and Image attribute scores.xlsx   Image name, MOS, Brightness, ...
                                                            (or saved as .csv)
          TestImage/00001.jpg, ...
        """,
    source="public code. Papers shrink the photographs to a shorter side of 512 pixels first; "
    "these are the files as they are.",
    citation="Y. Fang, H. Zhu, Y. Zeng, K. Ma, Z. Wang, 'Perceptual quality assessment of "
    "smartphone photography', CVPR 2020.",
    url="https://github.com/h4nwei/SPAQ",
    scores=(0, 100),
)
def load_spaq(root: Path, database: Database) -> Columns:
    """Load SPAQ: photographs by smartphones."""
    stem = "Annotations/MOS and Image attribute scores"
    file = database.find(root, f"{stem}.xlsx", f"{stem}.csv")
    names, mos = read_columns(file, "Image name", "MOS")
    return Columns(
        root=file.parent.parent,
        data=[f"TestImage/{name}" for name in names],
        target=parse_floats(mos, file),
    )


@loader(
    name="FLIVE",
    images="39,810 photographs from the web (PaQ-2-PiQ, LIVE-FB); patches are not loaded. Papers "
    "use 30,253 / 7,727 / 1,827.",
    opinions="MOS, 0 to 100, higher is better; target = MOS.",
    layout="""
        database/
          labels_image.csv          name, mos
          labels>640.csv            name_image, ...: the test part (labels640.csv will do)
          labels<=640_padded.csv    name_image, is_valid, ...: the validation part
                                    (labels=640_padded.csv will do)
          voc_emotic_ava/, EE371R/, blur_dataset/ ...  as `name` says
        """,
    source="the CSV of images in the authors' repository baidut/PaQ-2-PiQ, and public code for the "
    "split, whose two files lose < and > on some systems. Without both there is no split; images "
    "in neither are for training. Whether the folders hold images without a score could not be "
    "confirmed: they may.",
    citation="Z. Ying et al., 'From patches to pictures (PaQ-2-PiQ): mapping the perceptual space "
    "of picture quality', CVPR 2020.",
    url="https://github.com/niu-haoran/FLIVE_Database",
    scores=(0, 100),
)
def load_flive(root: Path, database: Database) -> Columns:
    """Load FLIVE (PaQ-2-PiQ): photographs from the web, with an official split."""
    file = database.find(root, "labels_image.csv", "database/labels_image.csv")
    names, mos = read_columns(file, "name", "mos")
    folder, split = file.parent, None
    large = find_path(folder, "labels>640.csv", "labels640.csv")
    small = find_path(folder, "labels<=640_padded.csv", "labels=640_padded.csv")
    if large and small:
        test = set(read_columns(large, "name_image")[0])
        image, is_valid = read_columns(small, "name_image", "is_valid")
        val = {i for i, flag in zip(image, is_valid, strict=True) if str(flag).lower() == "true"}
        split = ["test" if n in test else "val" if n in val else "train" for n in names]
    return Columns(
        root=folder / "database" if (folder / "database").is_dir() else folder,
        data=names,
        target=parse_floats(mos, file),
        split=split,
        strict=False,
    )


@loader(
    name="BID",
    images="586 photographs, sharp, out of focus and blurred by motion.",
    opinions="MOS, 0 to 5, higher is better; target = MOS.",
    layout="""
        BID/
          DatabaseGrades.xlsx       after a header: number of the image, average grade
                                    (or saved as .csv)
          DatabaseImage0001.JPG, ... (or in ImageDatabase/)
        """,
    source="public code, which reads the first two columns by place; the header and the name of a "
    "folder of images could not be confirmed.",
    citation="A. Ciancio et al., 'No-reference blur assessment of digital pictures based on "
    "multifeature classifiers', IEEE Trans. Image Process. 20(1), 2011.",
    url="https://github.com/zwx8981/UNIQUE#link-to-download-the-bid-dataset",
    scores=(0, 5),
)
def load_bid(root: Path, database: Database) -> Columns:
    """Load BID: blurred photographs."""
    file = database.find(root, "DatabaseGrades.xlsx", "DatabaseGrades.csv")
    rows = [row[:2] for row in read_rows(file) if str(row[0]).strip().isdigit()]
    names = [f"DatabaseImage{int(number):04d}.JPG" for number, _ in rows]
    if not names:
        raise ValueError(f"{file}: no row starts with the number of an image")
    folder = find_image_folder(file.parent, ["", "ImageDatabase", "Images"], names[0])
    return Columns(
        root=file.parent,
        data=[folder + name for name in names],
        target=parse_floats([grade for _, grade in rows], file),
    )


@loader(
    name="CID2013",
    images="474 photographs by 79 cameras of 8 scenes, in six image sets.",
    opinions="MOS, realigned over the image sets, about 0 to 100, higher is better; target = "
    "Realigned MOS.",
    layout="""
        CID2013/
          CID2013 data - version 12112014.xlsx   sheet CID2013 MOS: Source_ID, Realigned MOS
                                                 (or that sheet saved as .csv)
          IS1/co1/IS_I_C01_D01.jpg, ... (image set, scene, camera)
        """,
    source="public code that opens the sheet, and lists of the files. All images in one folder, "
    "as some have them, are read too. groups is the scene, the same in all image sets.",
    citation="T. Virtanen, M. Nuutinen, M. Vaahteranoksa, P. Oittinen, J. Häkkinen, 'CID2013: a "
    "database for evaluating no-reference image quality assessment algorithms', IEEE Trans. Image "
    "Process. 24(1), 2015.",
    url="https://zenodo.org/record/2647033",
)
def load_cid2013(root: Path, database: Database) -> Columns:
    """Load CID2013: 8 scenes by many cameras."""
    stem = "CID2013 data - version 12112014"
    file = database.find(root, f"{stem}.xlsx", f"{stem}.csv")
    names, mos = read_columns(file, "Source_ID", "Realigned MOS", sheet="CID2013 MOS")
    parts = [name.split("_") for name in names]
    bad = [name for name, part in zip(names, parts, strict=True) if len(part) != 4]
    if bad:
        raise ValueError(f"{file}: Source_ID {bad[0]!r} is not like 'IS_I_C01_D01'")
    together = not (file.parent / "IS1").is_dir()
    return Columns(
        root=file.parent,
        data=[
            f"{name}.jpg" if together else f"IS{_ROMAN[image_set]}/co{int(scene[1:])}/{name}.jpg"
            for name, (_, image_set, scene, _) in zip(names, parts, strict=True)
        ],
        target=parse_floats(mos, file),
        groups=[scene for _, _, scene, _ in parts],
    )


@loader(
    name="BIQ2021",
    images="12,000 photographs: a private album (ss01), faults on purpose (ss02), Unsplash "
    "(ss03); official split 10,000 / 2,000, without a validation part.",
    opinions="MOS, 0 to 1, higher is better; target = MOS.",
    layout="""
        BIQ2021-main/
          Train (Images and MOS).csv   image name, MOS (Train.csv of later versions will do)
          Test (Images and MOS).csv    the same (Test.csv)
          Images/ss01 (10).jpg, ...
        """,
    source="the authors' repository, which has both pairs of files; columns are read by place. The "
    "two pairs differ in the scores.",
    citation="N. Ahmed, S. Asif, 'BIQ2021: a large-scale blind image quality assessment database', "
    "J. Electron. Imaging 31(5), 2022.",
    url="https://github.com/nisarahmedrana/BIQ2021",
    license="no license file; the paper says 'freely available for use and benchmarking'.",
    scores=(0, 1),
)
def load_biq2021(root: Path, database: Database) -> Columns:
    """Load BIQ2021: photographs good and bad, with an official split."""
    data, split = [], []
    mos: list[float] = []
    train = database.find(root, "Train (Images and MOS).csv", "Train.csv")
    test = database.find(train.parent, train.name.replace("Train", "Test"))
    for part, file in (("train", train), ("test", test)):
        rows = read_rows(file)
        if not _is_number(rows[0][1]):  # a header
            rows = rows[1:]
        data += [f"Images/{row[0].strip()}" for row in rows]
        mos += parse_floats([row[1] for row in rows], file).tolist()
        split += [part] * len(rows)
    return Columns(root=train.parent, data=data, target=np.array(mos), split=split)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@loader(
    name="UHD-IQA",
    images="6,073 photographs from Pixabay, 3840 pixels wide; official split 4,269 / 904 / 900.",
    opinions="MOS of experts, 0 to 1, higher is better; target = quality_mos.",
    layout="""
        UHD-IQA-database/
          uhd-iqa-metadata.csv      image_name, quality_mos, set, ...
          training/, validation/, test/  *.jpg, as `set` says (or all in one folder, images/)
        """,
    source="the authors' readme for the CSV; the folders by public code, which differs.",
    citation="V. Hosu, L. Agnolucci, O. Wiedemann, D. Iso, D. Saupe, 'UHD-IQA benchmark database: "
    "pushing the boundaries of blind photo quality assessment', ECCV 2024 Workshops.",
    url="https://database.mmsp-kn.de/uhd-iqa-benchmark-database.html",
    scores=(0, 1),
)
def load_uhd_iqa(root: Path, database: Database) -> Columns:
    """Load UHD-IQA: large photographs of high quality, with an official split."""
    file = database.find(root, "uhd-iqa-metadata.csv")
    names, mos, sets = read_columns(file, "image_name", "quality_mos", "set")
    split = _official_parts(sets, file)
    if (file.parent / sets[0]).is_dir():
        data = [f"{part}/{name}" for part, name in zip(sets, names, strict=True)]
    else:
        folder = find_image_folder(file.parent, ["images", "database", ""], names[0])
        data = [folder + name for name in names]
    return Columns(root=file.parent, data=data, target=parse_floats(mos, file), split=split)


@loader(
    name="AGIQA-3k",
    images="2,982 images by six generators from 300 prompts.",
    opinions="MOS of quality, 0 to 5, higher is better; target = mos_quality (the file has a MOS "
    "of alignment with the prompt too).",
    layout="""
        AGIQA-3K/
          data.csv                  name, prompt, ..., mos_quality, std_quality, ...
          sd1.5_normal_000.jpg, ... (or in images/, file/ or AGIQA-3K/)
        """,
    source="the CSV in the authors' repository; where the archive puts the images could not be "
    "confirmed, and public code differs. groups is the prompt.",
    citation="C. Li et al., 'AGIQA-3K: an open database for AI-generated image quality "
    "assessment', IEEE Trans. Circuits Syst. Video Technol. 34(8), 2024.",
    url="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
    scores=(0, 5),
)
def load_agiqa3k(root: Path, database: Database) -> Columns:
    """Load AGIQA-3k: images generated from text."""
    file = database.find(root, "data.csv")
    names, prompts, mos, spread = read_columns(file, "name", "prompt", "mos_quality", "std_quality")
    folder = find_image_folder(file.parent, ["", "images", "file", "AGIQA-3K"], names[0])
    return Columns(
        root=file.parent,
        data=[folder + name for name in names],
        target=parse_floats(mos, file),
        target_std=parse_floats(spread, file),
        groups=prompts,
    )
