"""Databases rated by comparing pairs of images of one reference, which is the content."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from skiqa.datasets._base import Columns, Database, loader
from skiqa.datasets._files import name_parts
from skiqa.datasets._tables import parse_floats, read_columns, read_lines


@loader(
    name="PIPAL",
    images="23,200 images of 200 references of 288 x 288 pixels (the training part, which alone "
    "has published scores), degraded and restored in 116 ways, many by networks.",
    opinions="Elo rating from pairs of one content, about 868 to 1857, higher is better; target = "
    "rating.",
    layout="""
        PIPAL/
          Train_Label/A0001.txt     lines 'A0001_00_00.bmp,1500.0'
          Distortion_1/ .. Distortion_4/A0001_00_00.bmp, ... (content, class, variant)
          Train_Ref/A0001.bmp, ...
        """,
    source="public code. Some copies have all images in Train_Dist/ or Dist_Imgs/, which is read "
    "too. The release numbers its seven classes and does not name them; degradation is the "
    "number, level is not returned.",
    citation="J. Gu et al., 'PIPAL: a large-scale image quality assessment dataset for perceptual "
    "image restoration', ECCV 2020.",
    url="https://www.jasongt.com/projectpages/pipal.html",
    scores=(500, 2500),
)
def load_pipal(root: Path, database: Database) -> Columns:
    """Load the training part of PIPAL: 200 references, outputs of restoration among them."""
    labels = database.find(root, "Train_Label")
    root = labels.parent
    folders = [f"Distortion_{n}" for n in range(1, 5)] + ["Train_Dist", "Dist_Imgs"]
    where = {
        path.name.lower(): f"{folder}/{path.name}"
        for folder in folders
        if (root / folder).is_dir()
        for path in (root / folder).iterdir()
    }
    names: list[str] = []
    ratings: list[float] = []
    for file in sorted(labels.glob("*.txt")):
        lines = read_lines(file, ",")
        names += [line[0].strip() for line in lines]
        ratings += parse_floats([line[1] for line in lines], file).tolist()
    parts = name_parts(names)
    return Columns(
        root=root,
        data=[where.get(name.lower(), f"{folders[0]}/{name}") for name in names],
        target=np.array(ratings),
        groups=[content for content, _, _ in parts],
        degradation=[kind for _, kind, _ in parts],
    )


@loader(
    name="PieAPP",
    images="600 degraded images of 40 references (the test part, which alone has a score for each "
    "image), 15 of each reference.",
    opinions="error against the reference, fitted to preferences in pairs, 0 = the reference, "
    "lower is better; target = -error. References are compared with their own copies only.",
    layout="""
        PieAPP_dataset_CVPR_2018/
          labels/test/ref_1_per_image_score.csv        ref. image, distorted image, score for
                                                       distorted image
          distorted_images/test/ref_1/distort_1_<type>_<inter or intra>_<identifier>.png, ...
          reference_images/test/ref_1.png, ...
        """,
    source="the readme of the authors and public code that reads the score files. The training and "
    "validation parts (19,680 images) have preferences in pairs only and are not loaded.",
    citation="E. Prashnani, H. Cai, Y. Mostofi, P. Sen, 'PieAPP: Perceptual image-error assessment "
    "through pairwise preference', CVPR 2018.",
    url="https://github.com/prashnani/PerceptualImageError",
    license="non-commercial, educational purposes only.",
)
def load_pieapp(root: Path, database: Database) -> Columns:
    """Load the test part of PieAPP: 40 references, 15 degraded images of each."""
    labels = database.find(root, "labels")
    names, errors, groups = [], [], []
    for file in sorted(labels.glob("test/ref_*_per_image_score.csv"), key=_natural_order):
        reference = file.name.removesuffix("_per_image_score.csv")
        files, values = read_columns(file, "distorted image", "score for distorted image")
        for name, error in zip(files, parse_floats(values, file), strict=True):
            if name != f"{reference}.png":  # the reference itself, whose error is 0
                names.append(f"distorted_images/test/{reference}/{name}")
                errors.append(error)
                groups.append(reference)
    if not names:
        raise FileNotFoundError(
            f"{database.name}: there are no scores in {labels / 'test'}. Expected:\n"
            f"{database.expected}"
        )
    kinds = [re.search(r"distort_\d+_(.+)_int(?:er|ra)_", name) for name in names]
    return Columns(
        root=labels.parent,
        data=names,
        target=-np.array(errors),
        groups=groups,
        degradation=[kind[1] if kind else "unknown" for kind in kinds],
        split=["test"] * len(names),
    )


def _natural_order(file: Path) -> list[int | str]:
    """Return a sorting key by which ref_2 stands before ref_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]
