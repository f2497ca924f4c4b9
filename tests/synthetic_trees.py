"""Small databases of photographs degraded on purpose, in their official layouts."""

import numpy as np
from database_trees import cells, touch, write_csv
from scipy.io import savemat


def live(root, realigned=True):
    counts = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
    names = [
        f"{folder}/img{n}.bmp" for folder, count in counts.items() for n in range(1, count + 1)
    ]
    rng = np.random.default_rng(0)
    references = rng.choice(["bikes.bmp", "sailing1.bmp", "stream.bmp"], 982)
    original = rng.permutation(np.arange(982) < 203)
    dmos = np.where(original, 0, rng.uniform(5, 100, 982))
    touch(root, [*names, "refimgs/bikes.bmp", "refimgs/sailing1.bmp", "refimgs/stream.bmp"])
    touch(root, ["readme.txt", "jpeg/info.txt", "jpeg/Thumbs.db"])
    savemat(root / "refnames_all.mat", {"refnames_all": cells(references.tolist(), (1, -1))})
    flags = {"orgs": original.astype(np.uint8)[None]}
    if realigned:
        scores = {"dmos_new": dmos[None], "dmos_std": dmos[None] / 10, **flags}
        savemat(root / "dmos_realigned.mat", scores)
    else:
        savemat(root / "dmos.mat", {"dmos": dmos[None], **flags})
    return {
        "data": [name for name, o in zip(names, original, strict=True) if not o],
        "target": 100 - dmos[~original],
        "target_std": dmos[~original] / 10 if realigned else None,
        "groups": [r[:-4] for r, o in zip(references, original, strict=True) if not o],
    }


_CSIQ_ROWS = [  # image, dst_idx, dst_type, dst_lev, dmos_std, dmos
    (1600, 1, "noise", 1, 0.061, 0.062),
    (1600, 2, "blur", 5, 0.1, 0.93),
    ("sunset_sparrow", 3, "contrast", 2, 0.05, 0.26049),
    ("sunset_sparrow", 4, "fnoise", 3, 0.05, 0.5),
    ("trolley", 5, "jpeg", 4, 0.08, 0.7),
    ("trolley", 6, "jpeg 2000", 1, 0.02, 0.03),
]
_CSIQ_FILES = [
    "awgn/1600.AWGN.1.png",
    "blur/1600.BLUR.5.png",
    "contrast/sunset_sparrow.contrast.2.png",
    "fnoise/sunset_sparrow.fnoise.3.png",
    "jpeg/trolley.JPEG.4.png",
    "jpeg2000/trolley.jpeg2000.1.png",
]
_CSIQ_DEGRADATIONS = [
    "white_noise",
    "gaussian_blur",
    "contrast_change",
    "pink_noise",
    "jpeg",
    "jpeg2000",
]


def csiq_sheet():
    """Rows of the sheet all_by_image: the header is in row 4, from column D."""
    header = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    blank = [[None] * 9, ["CSIQ"] + [None] * 8, [None] * 9]
    return [*blank, [None] * 3 + header, *([None] * 3 + list(row) for row in _CSIQ_ROWS)]


def csiq(root, kind="sheet"):
    files = [f"dst_imgs/{name}" for name in _CSIQ_FILES]
    if kind == "sheet":
        write_csv(root / "csiq.DMOS.csv", csiq_sheet())
    elif kind == "text":
        files = [f"dst_imgs_all/{name.split('/')[1]}" for name in _CSIQ_FILES]
        lines = [
            f"{name.split('/')[1]} {row[-1]}\n"
            for name, row in zip(_CSIQ_FILES, _CSIQ_ROWS, strict=True)
        ]
        root.mkdir(exist_ok=True)
        (root / "csiq_label.txt").write_text("".join(lines))
    touch(root, [*files, "src_imgs/1600.png"])
    return {
        "data": files,
        "target": [1 - row[-1] for row in _CSIQ_ROWS],
        "target_std": None if kind == "text" else [row[-2] for row in _CSIQ_ROWS],
        "groups": ["1600", "1600", "sunset_sparrow", "sunset_sparrow", "trolley", "trolley"],
        "degradation": _CSIQ_DEGRADATIONS,
        "level": [1, 5, 2, 3, 4, 1],
    }


def _tid(root, types, levels):
    names = [
        f"I{c:02d}_{t:02d}_{n}.bmp"
        for c in (1, 24, 25)
        for t in range(1, types + 1)
        for n in range(1, levels + 1)
    ]
    # in the list I25 is written i25, and on disk other letters are small
    listed = [name.replace("I25", "i25") for name in names]
    disk = [name.replace("I01", "i01") for name in names]
    mos = np.round(np.random.default_rng(0).uniform(0, 9, len(names)), 5)
    spread = np.round(mos / 20, 6)
    touch(root, [f"distorted_images/{name}" for name in disk])
    touch(root, ["reference_images/I01.BMP", "reference_images/i25.bmp", "readme"])
    rows = [f"{m:.5f} {name}\r\n" for m, name in zip(mos, listed, strict=True)]
    (root / "mos_with_names.txt").write_bytes("".join(rows).encode())
    (root / "mos_std.txt").write_text("".join(f"{s:.6f}\n" for s in spread))
    return {
        "data": [f"distorted_images/{name}" for name in disk],
        "target": mos,
        "target_std": spread,
        "groups": np.repeat(["I01", "I24", "I25"], types * levels),
        "level": np.tile(np.arange(1, levels + 1), 3 * types),
    }


def tid2008(root):
    return _tid(root, 17, 4)


def tid2013(root):
    return _tid(root, 24, 5)


def kadid10k(root):
    rows = [
        (f"I{c:02d}_{t:02d}_{n:02d}.png", f"I{c:02d}.png", round(5 - 0.7 * n + t / 100, 2), 0.496)
        for c in (1, 81)
        for t in range(1, 26)
        for n in range(1, 6)
    ]
    write_csv(root / "dmos.csv", [("dist_img", "ref_img", "dmos", "var"), *rows])
    touch(root, [f"images/{row[0]}" for row in rows] + ["images/I01.png", "images/I81.png"])
    return {
        "data": [f"images/{row[0]}" for row in rows],
        "target": [row[2] for row in rows],
        "target_std": [0.496] * 250,
        "groups": ["I01"] * 125 + ["I81"] * 125,
        "level": [1, 2, 3, 4, 5] * 50,
    }


def kadis700k(root):
    names = ["abbey-1850.png", "abc-2080.png", "zoo-1.png"]
    rows = [(name, number) for number, name in enumerate(names, 3)]
    write_csv(root / "kadis700k_ref_imgs.csv", [("ref_im", "dist_type_1"), *rows])
    touch(root, [f"ref_imgs/{name}" for name in names])
    touch(root, ["dist_imgs/abbey-1850_03_01.bmp", "code_imdistort/imdist_generator.m"])
    data = [f"ref_imgs/{name}" for name in names]
    return {"data": data, "target": [np.nan] * 3, "groups": names}


def live_md(root):
    data, target = [], []
    for part, folder, second in (("Part 1", "blurjpeg", "jpeg"), ("Part 2", "blurnoise", "noise")):
        names = [
            f"{content}_{rest}.bmp"
            for content in ("babygirl", "wheel")
            for rest in ("blur1", f"{second}2", f"blur3_{second}1")
        ]
        dmos = np.linspace(0.61111, 84.6667, len(names))
        path = root / "To_Release" / part
        path.mkdir(parents=True)
        # cells of cells, a column
        nested = cells([cells([name], (1, 1)) for name in names], (-1, 1))
        savemat(path / "Imagelists.mat", {"distimgs": nested})
        savemat(path / "Scores.mat", {"DMOSscores": dmos[None]})
        files = [f"To_Release/{part}/{folder}/{name}" for name in names]
        touch(root, [*files, f"To_Release/{part}/{folder}/wheel.bmp"])
        data += files
        target += (100 - dmos).tolist()
    return {
        "data": data,
        "target": target,
        "groups": (["babygirl"] * 3 + ["wheel"] * 3) * 2,
        "degradation": ["blur", "jpeg", "blur+jpeg"] * 2 + ["blur", "noise", "blur+noise"] * 2,
    }


def mdid(root):
    contents = [f"img{c:02d}" for c in range(1, 21)]
    names = [
        f"distortion_images/{content}_{n:02d}.bmp" for content in contents for n in range(1, 81)
    ]
    mos = np.round(np.random.default_rng(0).uniform(0.2, 7.9, 1600), 4)
    touch(root, [*names, "reference_images/img01.bmp"])
    (root / "mos.txt").write_text("".join(f"{m}\n" for m in mos))
    return {"data": names, "target": mos, "groups": np.repeat(contents, 80)}


def pipal(root):
    rows = [("A0001_00_00.bmp", 1500.2251), ("A0001_06_11.bmp", 1010.5), ("A0199_03_23.bmp", 868.3)]
    (root / "Train_Label").mkdir(parents=True)
    (root / "Train_Label" / "A0001.txt").write_text(
        "".join(f"{name},{score}\n" for name, score in rows[:2])
    )
    (root / "Train_Label" / "A0199.txt").write_text(f"{rows[2][0]},{rows[2][1]}\n")
    folders = ["Distortion_1", "Distortion_4", "Distortion_2"]
    data = [f"{folder}/{name}" for folder, (name, _) in zip(folders, rows, strict=True)]
    touch(root, [*data, "Train_Ref/A0001.bmp"])
    return {
        "data": data,
        "target": [score for _, score in rows],
        "groups": ["A0001", "A0001", "A0199"],
        "degradation": ["00", "06", "03"],
    }


def pieapp(root):
    ten = [("distort_10_JPEG_compression_inter_3.png", 1.75), ("ref_10.png", 0)]
    blur, noise = "distort_2_gaussian_blur_intra_12.png", "distort_2_pink_noise_inter_1.png"
    labels = root / "labels" / "test"
    for reference, scored in {"ref_10": ten, "ref_2": [(blur, 3.5), (noise, -0.25)]}.items():
        header = ("ref. image", " distorted image", " score for distorted image")
        rows = [(f"{reference}.png", *row) for row in scored]
        write_csv(labels / f"{reference}_per_image_score.csv", [header, *rows])
        header = ("ref. image", " distorted image A", " distorted image B", " preference for A")
        write_csv(labels / f"{reference}_pairwise_labels.csv", [header])
    data = [
        "distorted_images/test/ref_2/distort_2_gaussian_blur_intra_12.png",
        "distorted_images/test/ref_2/distort_2_pink_noise_inter_1.png",
        "distorted_images/test/ref_10/distort_10_JPEG_compression_inter_3.png",
    ]
    touch(root, [*data, "reference_images/test/ref_2.png", "reference_images/test/ref_10.png"])
    touch(root, ["labels/train/ref_1_pairwise_labels.csv", "test_reference_list.txt"])
    return {
        "data": data,
        "target": [-3.5, 0.25, -1.75],
        "groups": ["ref_2", "ref_2", "ref_10"],
        "degradation": ["gaussian_blur", "pink_noise", "JPEG_compression"],
        "split": ["test"] * 3,
    }


SYNTHETIC = [live, csiq, tid2008, tid2013, kadid10k, kadis700k, live_md, mdid, pipal, pieapp]
