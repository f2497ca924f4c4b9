"""Databases of photographs degraded in several ways at once: the content is the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skiqa.datasets._base import TEXAS_LICENSE, Columns, Database, loader
from skiqa.datasets._files import find_path, name_parts
from skiqa.datasets._tables import cell_texts, read_floats, read_mat


@loader(
    name="LIVE-MD",
    images="450 degraded images of 15 references: blur, JPEG, and blur then JPEG (part 1), blur, "
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
    license=TEXAS_LICENSE,
)
def load_live_md(root: Path, database: Database) -> Columns:
    """Load LIVE multiply distorted: 15 references, two degradations at once."""
    first = database.find(root, "Part 1", "Part_1")
    root = first.parent
    data, also = [], []
    dmos: list[float] = []
    for number, folder in ((1, "blurjpeg"), (2, "blurnoise")):
        part = first.name.replace("1", str(number))
        names = cell_texts(read_mat(database.find(root / part, "Imagelists.mat"))["distimgs"])
        scores = read_mat(database.find(root / part, "Scores.mat"))["DMOSscores"]
        if scores.size != len(names):
            raise ValueError(f"{root / part}: {scores.size} scores of {len(names)} images")
        data += [f"{part}/{folder}/{name}" for name in names]
        dmos += scores.reshape(-1).tolist()
        also += [f"{part}/{folder}/{name.split('_')[0]}.bmp" for name in names]
    parts = name_parts(data)
    return Columns(
        root=root,
        data=data,
        target=100 - np.array(dmos),
        groups=[content for content, *_ in parts],
        degradation=["+".join(d.rstrip("0123456789") for d in rest) for _, *rest in parts],
        also=also,
    )


@loader(
    name="MDID",
    images="1,600 degraded images of 20 references, each by up to five degradations in a row.",
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
def load_mdid(root: Path, database: Database) -> Columns:
    """Load MDID: 20 references, several degradations at once."""
    file = database.find(root, "mos.txt")
    spread = find_path(file.parent, "mos_std.txt")
    mos = read_floats(file)
    if len(mos) != 1600:
        raise ValueError(f"MDID: {len(mos)} scores in {file}, there should be 1600")
    contents = [f"img{content:02d}" for content in range(1, 21)]
    return Columns(
        root=file.parent,
        data=[f"distortion_images/{c}_{n:02d}.bmp" for c in contents for n in range(1, 81)],
        target=mos,
        target_std=None if spread is None else read_floats(spread),
        groups=np.repeat(contents, 80),
    )
