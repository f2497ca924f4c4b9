"""Databases of photographs degraded on purpose, once each: the content is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skiqa._types import Floats
from skiqa.datasets._base import TEXAS_LICENSE, Columns, Database, loader
from skiqa.datasets._files import find_path, name_parts
from skiqa.datasets._tables import (
    cell_texts,
    parse_floats,
    read_columns,
    read_floats,
    read_lines,
    read_mat,
    read_rows,
)

# number in the file name -> degradation
TID_DEGRADATIONS = {
    1: "white_noise",
    2: "color_noise",
    3: "spatially_correlated_noise",
    4: "masked_noise",
    5: "high_frequency_noise",
    6: "impulse_noise",
    7: "quantization_noise",
    8: "gaussian_blur",
    9: "denoise",
    10: "jpeg",
    11: "jpeg2000",
    12: "jpeg_transmission_errors",
    13: "jpeg2000_transmission_errors",
    14: "non_eccentricity_pattern",
    15: "local_blocks",
    16: "mean_shift",
    17: "contrast_change",
    18: "color_saturation",
    19: "multiplicative_noise",
    20: "comfort_noise",
    21: "lossy_compression_of_noisy",
    22: "color_quantization_with_dither",
    23: "chromatic_aberrations",
    24: "sparse_sampling",
}

# the names of the "kadis" bank of skiqa.degradations, which are these degradations
KADID_DEGRADATIONS = {
    1: "gaussian_blur",
    2: "lens_blur",
    3: "motion_blur",
    4: "color_diffusion",
    5: "color_shift",
    6: "color_quantization",
    7: "color_saturation_hsv",
    8: "color_saturation_lab",
    9: "jpeg2000",
    10: "jpeg",
    11: "white_noise",
    12: "white_noise_ycbcr",
    13: "impulse_noise",
    14: "multiplicative_noise",
    15: "denoise",
    16: "brighten",
    17: "darken",
    18: "mean_shift",
    19: "jitter",
    20: "non_eccentricity_patch",
    21: "pixelate",
    22: "quantization",
    23: "color_block",
    24: "high_sharpen",
    25: "contrast_change",
}

_LIVE_FOLDERS = {  # in the order of the score file
    "jp2k": ("jpeg2000", 227),
    "jpeg": ("jpeg", 233),
    "wn": ("white_noise", 174),
    "gblur": ("gaussian_blur", 174),
    "fastfading": ("fast_fading", 174),
}

_CSIQ_TYPES = {  # in the sheet: folder, part of the file name, degradation
    "noise": ("awgn", "AWGN", "white_noise"),
    "blur": ("blur", "BLUR", "gaussian_blur"),
    "contrast": ("contrast", "contrast", "contrast_change"),
    "fnoise": ("fnoise", "fnoise", "pink_noise"),
    "jpeg": ("jpeg", "JPEG", "jpeg"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "jpeg2000"),
}


@loader(
    name="LIVE",
    images="779 degraded images of 29 references, 5 degradations (982 files, of which 203 are "
    "hidden references, left out here).",
    opinions="DMOS, realigned, about 0 to 100, lower is better; target = 100 - DMOS.",
    layout="""
        databaserelease2/
          dmos_realigned.mat        dmos_new, dmos_std, orgs (or dmos.mat: dmos, orgs)
          refnames_all.mat          refnames_all
          jp2k/img1.bmp .. img227.bmp
          jpeg/img1.bmp .. img233.bmp
          wn/, gblur/, fastfading/  img1.bmp .. img174.bmp each
          refimgs/bikes.bmp, ...
        """,
    source="the readme of release 2 as read by public code (hyperIQA, IQA-PyTorch): the scores "
    "stand in the order of the folders above. The size of dmos_std is taken as that of dmos_new.",
    citation="H. R. Sheikh, M. F. Sabir, A. C. Bovik, 'A statistical evaluation of recent full "
    "reference image quality assessment algorithms', IEEE Trans. Image Process. 15(11), 2006.",
    url="https://live.ece.utexas.edu/research/quality/subjective.htm",
    license=TEXAS_LICENSE,
)
def load_live(root: Path, database: Database) -> Columns:
    """Load LIVE (release 2): 29 references, 5 degradations."""
    file = database.find(root, "dmos_realigned.mat", "dmos.mat")
    root = file.parent
    scores = read_mat(file)
    dmos = scores["dmos_new" if "dmos_new" in scores else "dmos"].reshape(-1).astype(np.float64)
    original = scores["orgs"].reshape(-1).astype(bool)
    references = cell_texts(read_mat(database.find(root, "refnames_all.mat"))["refnames_all"])
    names, types = [], []
    for folder, (degradation, count) in _LIVE_FOLDERS.items():
        names += [f"{folder}/img{number}.bmp" for number in range(1, count + 1)]
        types += [degradation] * count
    for what, values in (("scores", dmos), ("flags orgs", original), ("references", references)):
        if len(values) != len(names):
            raise ValueError(f"LIVE: {len(values)} {what} in {root}, there should be {len(names)}")
    kept = np.flatnonzero(~original)
    spread = scores["dmos_std"].reshape(-1)[kept] if "dmos_std" in scores else None
    return Columns(
        root=root,
        data=[names[k] for k in kept],
        target=100 - dmos[kept],
        target_std=spread,
        groups=[references[k].removesuffix(".bmp") for k in kept],
        degradation=[types[k] for k in kept],
        also=names,
    )


@loader(
    name="CSIQ",
    images="866 degraded images of 30 references, 6 degradations at 4 to 5 levels.",
    opinions="DMOS, 0 to 1, lower is better; target = 1 - DMOS.",
    layout="""
        csiq/
          csiq.DMOS.xlsx            sheet all_by_image: image, dst_idx, dst_type, dst_lev,
                                    dmos_std, dmos (or that sheet as csiq.DMOS.csv)
          src_imgs/1600.png, ...
          dst_imgs/awgn/1600.AWGN.1.png, blur/, contrast/, fnoise/, jpeg/, jpeg2000/
        or, as many papers have it, csiq_label.txt with lines '1600.AWGN.1.png 0.062', and all
        degraded images in dst_imgs_all/
        """,
    source="public code that opens the sheet (its header is row 4) and lists of the files. The "
    "label file is said to leave out some images, which are then left out here.",
    citation="E. C. Larson, D. M. Chandler, 'Most apparent distortion: full-reference image "
    "quality assessment and the role of strategy', J. Electron. Imaging 19(1), 2010.",
    url="https://s2.smu.edu/~eclarson/csiq.html",
    scores=(0, 1),
)
def load_csiq(root: Path, database: Database) -> Columns:
    """Load CSIQ: 30 references, 6 degradations."""
    file = database.find(root, "csiq.DMOS.xlsx", "csiq.DMOS.csv", "csiq_label.txt")
    root = file.parent
    if file.suffix == ".txt":
        lines = read_lines(file)
        files, spread = [line[0] for line in lines], None
        dmos = parse_floats([line[1] for line in lines], file)
    else:
        files, dmos, spread = _read_csiq_sheet(file)
    types = {part.lower(): (folder, name) for folder, part, name in _CSIQ_TYPES.values()}
    together = (root / "dst_imgs_all").is_dir()
    data, degradation, groups, levels = [], [], [], []
    for name in files:
        content, part, level, _ = name.rsplit(".", 3)
        folder, kind = types[part.lower()]
        data.append(f"dst_imgs_all/{name}" if together else f"dst_imgs/{folder}/{name}")
        degradation.append(kind)
        groups.append(content)
        levels.append(int(level))
    return Columns(
        root=root,
        data=data,
        target=1 - dmos,
        target_std=spread,
        groups=groups,
        degradation=degradation,
        level=levels,
        strict=file.suffix != ".txt",
    )


def _read_csiq_sheet(file: Path) -> tuple[list[str], Floats, Floats]:
    """Return file names, DMOS and deviations."""
    image, kind, level, spread, dmos = read_columns(
        file, "image", "dst_type", "dst_lev", "dmos_std", "dmos", sheet="all_by_image"
    )
    unknown = sorted({str(k) for k in kind} - set(_CSIQ_TYPES))
    if unknown:
        raise ValueError(f"{file}: unknown dst_type {unknown}, not in {list(_CSIQ_TYPES)}")
    files = [
        f"{_in_file_name(i)}.{_CSIQ_TYPES[k][1]}.{_in_file_name(n)}.png"
        for i, k, n in zip(image, kind, level, strict=True)
    ]
    return files, parse_floats(dmos, file), parse_floats(spread, file)


def _in_file_name(cell: Any) -> str:
    """Return a number of a sheet, or its text, as it stands in a file name."""
    return str(int(cell)) if isinstance(cell, float) else str(cell)


_TID_LAYOUT = """
        {folder}/
          mos_with_names.txt        lines '5.51429 I01_01_1.bmp'
          mos_std.txt               one number a line
          distorted_images/I01_01_1.bmp, ... (content, degradation, level; case varies)
          reference_images/I01.BMP, ...
        """


@loader(
    name="TID2008",
    images="1,700 degraded images of 25 references, 17 degradations at 4 levels.",
    opinions="MOS, 0 to 9, higher is better; target = MOS.",
    layout=_TID_LAYOUT.format(folder="tid2008"),
    source="public code that reads mos_with_names.txt and mos_std.txt, and lists of the files.",
    citation="N. Ponomarenko et al., 'TID2008 - a database for evaluation of full-reference visual "
    "quality assessment metrics', Advances of Modern Radioelectronics 10, 2009.",
    url="http://www.ponomarenko.info/tid2008.htm",
    scores=(0, 9),
)
def load_tid2008(root: Path, database: Database) -> Columns:
    """Load TID2008: 25 references, 17 degradations at 4 levels."""
    return _read_tid(root, database)


@loader(
    name="TID2013",
    images="3,000 degraded images of 25 references, 24 degradations at 5 levels.",
    opinions="MOS, 0 to 9, higher is better; target = MOS.",
    layout=_TID_LAYOUT.format(folder="tid2013"),
    source="the readme of the database (names iXX_YY_Z.bmp, types 1 to 24) and public code.",
    citation="N. Ponomarenko et al., 'Image database TID2013: peculiarities, results and "
    "perspectives', Signal Processing: Image Communication 30, 2015.",
    url="http://www.ponomarenko.info/tid2013.htm",
    scores=(0, 9),
)
def load_tid2013(root: Path, database: Database) -> Columns:
    """Load TID2013: 25 references, 24 degradations at 5 levels."""
    return _read_tid(root, database)


def _read_tid(root: Path, database: Database) -> Columns:
    file = database.find(root, "mos_with_names.txt")
    lines = read_lines(file)
    spread = find_path(file.parent, "mos_std.txt")
    parts = name_parts(line[1] for line in lines)
    return Columns(
        root=file.parent,
        data=[f"distorted_images/{line[1]}" for line in lines],
        target=parse_floats([line[0] for line in lines], file),
        target_std=None if spread is None else read_floats(spread),
        groups=[content.upper() for content, _, _ in parts],
        degradation=[TID_DEGRADATIONS[int(kind)] for _, kind, _ in parts],
        level=[int(level) for _, _, level in parts],
    )


@loader(
    name="KADID-10k",
    images="10,125 degraded images of 81 references, 25 degradations at 5 levels.",
    opinions="1 to 5, higher is better (a DMOS by its name, rated as 'how little worse than the "
    "reference'); target = dmos. target_std is the column var: its values are standard deviations "
    "(4.57 of 30 ratings with 0.496 is 17 fives and 13 fours, whose variance would be 0.246).",
    layout="""
        kadid10k/
          dmos.csv                  dist_img, ref_img, dmos, var
          images/I01_01_01.png, ... (content, degradation, level), and I01.png .. I81.png
        """,
    source="the CSV and names as read by public code.",
    citation="H. Lin, V. Hosu, D. Saupe, 'KADID-10k: a large-scale artificially distorted IQA "
    "database', QoMEX 2019.",
    url="http://database.mmsp-kn.de/kadid-10k-database.html",
    scores=(1, 5),
)
def load_kadid10k(root: Path, database: Database) -> Columns:
    """Load KADID-10k: 81 references, 25 degradations at 5 levels."""
    file = database.find(root, "dmos.csv")
    names, references, scores, spread = read_columns(file, "dist_img", "ref_img", "dmos", "var")
    parts = name_parts(names)
    return Columns(
        root=file.parent,
        data=[f"images/{name}" for name in names],
        target=parse_floats(scores, file),
        target_std=parse_floats(spread, file),
        groups=[name.rpartition(".")[0] for name in references],
        degradation=[KADID_DEGRADATIONS[int(kind)] for _, kind, _ in parts],
        level=[int(level) for _, _, level in parts],
        also=[f"images/{name}" for name in references],
    )


@loader(
    name="KADIS-700k",
    images="140,000 pristine photographs, for training without opinions. Its script makes five "
    "levels of one degradation of each; skiqa.degradations makes them while training, so that "
    "only the photographs are loaded.",
    opinions="none; target is NaN.",
    layout="""
        kadis700k/
          kadis700k_ref_imgs.csv    file name, number of the degradation drawn for it (1 to 25)
          ref_imgs/*.png
        """,
    source="the authors' MATLAB script, as many public copies have it.",
    citation="H. Lin, V. Hosu, D. Saupe, 'DeepFL-IQA: weak supervision for deep IQA feature "
    "learning', arXiv:2001.08113, 2020.",
    url="http://database.mmsp-kn.de/kadid-10k-database.html",
)
def load_kadis700k(root: Path, database: Database) -> Columns:
    """Load the photographs of KADIS-700k, which has no opinions."""
    file = database.find(root, "kadis700k_ref_imgs.csv")
    names = [row[0] for row in read_rows(file)[1:]]
    return Columns(
        root=file.parent,
        data=[f"ref_imgs/{name}" for name in names],
        target=np.full(len(names), np.nan),
        groups=names,
    )
