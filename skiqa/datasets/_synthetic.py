"""Databases of photographs degraded on purpose: the content of an image is its reference."""

import re

import numpy as np

from skiqa.datasets._base import find, loader, numbers, read_columns, read_mat, read_rows, texts

TID_DEGRADATIONS = (
    "white_noise", "color_noise", "spatially_correlated_noise", "masked_noise",
    "high_frequency_noise", "impulse_noise", "quantization_noise", "gaussian_blur", "denoise",
    "jpeg", "jpeg2000", "jpeg_transmission_errors", "jpeg2000_transmission_errors",
    "non_eccentricity_pattern", "local_blocks", "mean_shift", "contrast_change",
    "color_saturation", "multiplicative_noise", "comfort_noise", "lossy_compression_of_noisy",
    "color_quantization_with_dither", "chromatic_aberrations", "sparse_sampling",
)  # fmt: skip

# the names of the "kadis" bank of skiqa.degradations, which are these degradations
KADID_DEGRADATIONS = (
    "gaussian_blur", "lens_blur", "motion_blur", "color_diffusion", "color_shift",
    "color_quantization", "color_saturation_hsv", "color_saturation_lab", "jpeg2000", "jpeg",
    "white_noise", "white_noise_ycbcr", "impulse_noise", "multiplicative_noise", "denoise",
    "brighten", "darken", "mean_shift", "jitter", "non_eccentricity_patch", "pixelate",
    "quantization", "color_block", "high_sharpen", "contrast_change",
)  # fmt: skip

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
    content="779 degraded images of 29 references, 5 degradations (982 files, of which 203 are "
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
    license="any use without fee if the copyright notice of the University of Texas at Austin and "
    "the citation are kept.",
)
def load_live(root, database):
    """Load LIVE (release 2): 29 references, 5 degradations."""
    file = find(root, "dmos_realigned.mat", "dmos.mat", database=database)
    root = file.parent
    scores = read_mat(file)
    dmos = scores["dmos_new" if "dmos_new" in scores else "dmos"].reshape(-1).astype(np.float64)
    original = scores["orgs"].reshape(-1).astype(bool)
    references = texts(read_mat(find(root, "refnames_all.mat", database=database))["refnames_all"])
    names, types = [], []
    for folder, (degradation, count) in _LIVE_FOLDERS.items():
        names += [f"{folder}/img{number}.bmp" for number in range(1, count + 1)]
        types += [degradation] * count
    for what, values in (("scores", dmos), ("flags orgs", original), ("references", references)):
        if len(values) != len(names):
            raise ValueError(f"LIVE: {len(values)} {what} in {root}, there should be {len(names)}")
    kept = np.flatnonzero(~original)
    spread = scores["dmos_std"].reshape(-1)[kept] if "dmos_std" in scores else None
    return {
        "root": root,
        "data": [names[k] for k in kept],
        "target": 100 - dmos[kept],
        "target_std": spread,
        "groups": [references[k].removesuffix(".bmp") for k in kept],
        "degradation": [types[k] for k in kept],
        "also": names,
    }


@loader(
    name="CSIQ",
    content="866 degraded images of 30 references, 6 degradations at 4 to 5 levels.",
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
def load_csiq(root, database):
    """Load CSIQ: 30 references, 6 degradations."""
    file = find(root, "csiq.DMOS.xlsx", "csiq.DMOS.csv", "csiq_label.txt", database=database)
    root, spread = file.parent, None
    if file.suffix == ".txt":
        lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
        files, dmos = [line[0] for line in lines], numbers([line[1] for line in lines], file)
    else:
        image, kind, level, spread, dmos = read_columns(
            file, "image", "dst_type", "dst_lev", "dmos_std", "dmos", sheet="all_by_image"
        )
        spread, dmos = numbers(spread, file), numbers(dmos, file)
        unknown = sorted({str(k) for k in kind} - set(_CSIQ_TYPES))
        if unknown:
            raise ValueError(f"{file}: unknown dst_type {unknown}, not in {list(_CSIQ_TYPES)}")
        files = [
            f"{_whole(i)}.{_CSIQ_TYPES[k][1]}.{_whole(n)}.png"
            for i, k, n in zip(image, kind, level, strict=True)
        ]
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
    return {
        "root": root,
        "strict": file.suffix != ".txt",
        "data": data,
        "target": 1 - dmos,
        "target_std": spread,
        "groups": groups,
        "degradation": degradation,
        "level": levels,
    }


def _whole(cell):
    """A number of a sheet, or its text, as it stands in a file name."""
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
    content="1,700 degraded images of 25 references, 17 degradations at 4 levels.",
    opinions="MOS, 0 to 9, higher is better; target = MOS.",
    layout=_TID_LAYOUT.format(folder="tid2008"),
    source="public code that reads mos_with_names.txt and mos_std.txt, and lists of the files.",
    citation="N. Ponomarenko et al., 'TID2008 - a database for evaluation of full-reference visual "
    "quality assessment metrics', Advances of Modern Radioelectronics 10, 2009.",
    url="http://www.ponomarenko.info/tid2008.htm",
    scores=(0, 9),
)
def load_tid2008(root, database):
    """Load TID2008: 25 references, 17 degradations at 4 levels."""
    return _tid(root, database)


@loader(
    name="TID2013",
    content="3,000 degraded images of 25 references, 24 degradations at 5 levels.",
    opinions="MOS, 0 to 9, higher is better; target = MOS.",
    layout=_TID_LAYOUT.format(folder="tid2013"),
    source="the readme of the database (names iXX_YY_Z.bmp, types 1 to 24) and public code.",
    citation="N. Ponomarenko et al., 'Image database TID2013: peculiarities, results and "
    "perspectives', Signal Processing: Image Communication 30, 2015.",
    url="http://www.ponomarenko.info/tid2013.htm",
    scores=(0, 9),
)
def load_tid2013(root, database):
    """Load TID2013: 25 references, 24 degradations at 5 levels."""
    return _tid(root, database)


def _tid(root, database):
    file = find(root, "mos_with_names.txt", database=database)
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    spread = find(file.parent, "mos_std.txt", database=database, required=False)
    parts = [line[1].rpartition(".")[0].split("_") for line in lines]
    return {
        "root": file.parent,
        "data": [f"distorted_images/{line[1]}" for line in lines],
        "target": numbers([line[0] for line in lines], file),
        "target_std": None if spread is None else numbers(spread.read_text().split(), spread),
        "groups": [content.upper() for content, _, _ in parts],
        "degradation": [TID_DEGRADATIONS[int(kind) - 1] for _, kind, _ in parts],
        "level": [int(level) for _, _, level in parts],
    }


@loader(
    name="KADID-10k",
    content="10,125 degraded images of 81 references, 25 degradations at 5 levels.",
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
def load_kadid10k(root, database):
    """Load KADID-10k: 81 references, 25 degradations at 5 levels."""
    file = find(root, "dmos.csv", database=database)
    names, references, scores, spread = read_columns(file, "dist_img", "ref_img", "dmos", "var")
    parts = [name.rpartition(".")[0].split("_") for name in names]
    return {
        "root": file.parent,
        "data": [f"images/{name}" for name in names],
        "target": numbers(scores, file),
        "target_std": numbers(spread, file),
        "groups": [name.rpartition(".")[0] for name in references],
        "degradation": [KADID_DEGRADATIONS[int(kind) - 1] for _, kind, _ in parts],
        "level": [int(level) for _, _, level in parts],
        "also": [f"images/{name}" for name in references],
    }


@loader(
    name="KADIS-700k",
    content="140,000 pristine photographs, for training without opinions. Its script makes five "
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
def load_kadis700k(root, database):
    """Load the photographs of KADIS-700k, which has no opinions."""
    file = find(root, "kadis700k_ref_imgs.csv", database=database)
    names = [row[0] for row in read_rows(file)[1:]]
    return {
        "root": file.parent,
        "data": [f"ref_imgs/{name}" for name in names],
        "target": np.full(len(names), np.nan),
        "groups": names,
    }


@loader(
    name="LIVE-MD",
    content="450 degraded images of 15 references: blur, JPEG, and blur then JPEG (part 1), blur, "
    "noise, and blur then noise (part 2), 225 each.",
    opinions="DMOS, about 0 to 100, lower is better; target = 100 - DMOS.",
    layout="""
        To_Release/
          Part 1/Imagelists.mat     distimgs
          Part 1/Scores.mat         DMOSscores
          Part 1/blurjpeg/*.bmp
          Part 2/                   the same, with blurnoise/
        (Part_1 and Part_2 will do)
        """,
    source="public code that opens both files. File names other than <content>_blur1_noise1.bmp "
    "and its like could not be confirmed for part 1. Levels are not returned: two belong to one "
    "image.",
    citation="D. Jayaraman, A. Mittal, A. K. Moorthy, A. C. Bovik, 'Objective quality assessment "
    "of multiply distorted images', Asilomar 2012.",
    url="https://live.ece.utexas.edu/research/Quality/live_multidistortedimage.html",
    license="any use without fee if the copyright notice of the University of Texas at Austin and "
    "the citation are kept.",
)
def load_live_md(root, database):
    """Load LIVE multiply distorted: 15 references, two degradations at once."""
    first = find(root, "Part 1", "Part_1", database=database)
    root = first.parent
    data, dmos, also = [], [], []
    for number, folder in ((1, "blurjpeg"), (2, "blurnoise")):
        part = first.name.replace("1", str(number))
        names = texts(read_mat(find(root / part, "Imagelists.mat", database=database))["distimgs"])
        scores = read_mat(find(root / part, "Scores.mat", database=database))["DMOSscores"]
        if scores.size != len(names):
            raise ValueError(f"{root / part}: {scores.size} scores of {len(names)} images")
        data += [f"{part}/{folder}/{name}" for name in names]
        dmos += scores.reshape(-1).tolist()
        also += [f"{part}/{folder}/{name.split('_')[0]}.bmp" for name in names]
    stems = [name.rpartition("/")[2].rpartition(".")[0].split("_") for name in data]
    return {
        "root": root,
        "data": data,
        "target": 100 - np.array(dmos),
        "groups": [content for content, *_ in stems],
        "degradation": ["+".join(d.rstrip("0123456789") for d in rest) for _, *rest in stems],
        "also": also,
    }


@loader(
    name="MDID",
    content="1,600 degraded images of 20 references, each by up to five degradations in a row.",
    opinions="MOS, 0 to 8, higher is better; target = MOS.",
    layout="""
        MDID/
          mos.txt                   1,600 lines, content by content
          mos_std.txt               the same, if there
          distortion_images/img01_01.bmp .. img20_80.bmp
          reference_images/img01.bmp .. img20.bmp
        """,
    source="public code that reads mos.txt in this order, and lists of the files. mos_std.txt "
    "could not be confirmed and is optional; the levels, one file for each content, are not read.",
    citation="W. Sun, F. Zhou, Q. Liao, 'MDID: a multiply distorted image database for image "
    "quality assessment', Pattern Recognition 61, 2017.",
    url="https://www.sz.tsinghua.edu.cn/labs/vipl/mdid.html",
    scores=(0, 8),
)
def load_mdid(root, database):
    """Load MDID: 20 references, several degradations at once."""
    file = find(root, "mos.txt", database=database)
    spread = find(file.parent, "mos_std.txt", database=database, required=False)
    mos = numbers(file.read_text().split(), file)
    if len(mos) != 1600:
        raise ValueError(f"MDID: {len(mos)} scores in {file}, there should be 1600")
    contents = [f"img{content:02d}" for content in range(1, 21)]
    return {
        "root": file.parent,
        "data": [f"distortion_images/{c}_{n:02d}.bmp" for c in contents for n in range(1, 81)],
        "target": mos,
        "target_std": None if spread is None else numbers(spread.read_text().split(), spread),
        "groups": np.repeat(contents, 80),
    }


@loader(
    name="PIPAL",
    content="23,200 images of 200 references of 288 x 288 pixels (the training part, which alone "
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
def load_pipal(root, database):
    """Load the training part of PIPAL: 200 references, outputs of restoration among them."""
    labels = find(root, "Train_Label", database=database)
    root = labels.parent
    folders = [f"Distortion_{n}" for n in range(1, 5)] + ["Train_Dist", "Dist_Imgs"]
    where = {
        path.name.lower(): f"{folder}/{path.name}"
        for folder in folders
        if (root / folder).is_dir()
        for path in (root / folder).iterdir()
    }
    names, ratings = [], []
    for file in sorted(labels.glob("*.txt")):
        lines = [line.split(",") for line in file.read_text().splitlines() if line.strip()]
        names += [line[0].strip() for line in lines]
        ratings += numbers([line[1] for line in lines], file).tolist()
    parts = [name.rpartition(".")[0].split("_") for name in names]
    return {
        "root": root,
        "data": [where.get(name.lower(), f"{folders[0]}/{name}") for name in names],
        "target": np.array(ratings),
        "groups": [content for content, _, _ in parts],
        "degradation": [kind for _, kind, _ in parts],
    }


@loader(
    name="PieAPP",
    content="600 degraded images of 40 references (the test part, which alone has a score for each "
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
def load_pieapp(root, database):
    """Load the test part of PieAPP: 40 references, 15 degraded images of each."""
    labels = find(root, "labels", database=database)
    names, errors, groups = [], [], []
    for file in sorted(labels.glob("test/ref_*_per_image_score.csv"), key=_natural):
        reference = file.name.removesuffix("_per_image_score.csv")
        files, values = read_columns(file, "distorted image", "score for distorted image")
        for name, error in zip(files, numbers(values, file), strict=True):
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
    return {
        "root": labels.parent,
        "data": names,
        "target": -np.array(errors),
        "groups": groups,
        "degradation": [kind[1] if kind else "unknown" for kind in kinds],
        "split": ["test"] * len(names),
    }


def _natural(file):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]
