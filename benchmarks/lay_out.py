"""Lay out the rated photos that the bundled model is fitted to, from bare git repositories.

    git clone --mirror https://github.com/nisarahmedrana/BIQ2021 biq.git
    git clone --mirror https://github.com/hqc0929/IQA-dataset clive.git
    python benchmarks/lay_out.py --biq biq.git --clive clive.git --out rated

writes

    rated/biq2021/mos.csv, images/      9,999 rows `file, mos`: BIQ2021's official training split,
                                        but for one photo that the repository lacks
    rated/ChallengeDB_release/          CLIVE, as `skiqa.datasets.load_clive` reads it

and checks the number of photos, and a digest of their names and bytes. Files are read one by one,
as a checkout fails where a repository lacks a large one. Photos of BIQ2021's official test split
are not read, let alone written.
"""

import argparse
import csv
import hashlib
import io
import subprocess
import sys
from pathlib import Path

from skiqa.datasets import load_clive

TRAINING_SPLIT = "Train (Images and MOS).csv"
CLIVE = "ChallengeDB_release/"
# Number of photos, and SHA-256 of a line "name, tab, SHA-256 of its bytes" for each, by name.
EXPECTED = {
    "biq2021": (9_999, "dc38389fb2cdcb3cb4687fc702989fd25eb27872796a8db60c55ba4ee7a0e5e4"),
    "clive": (1_162, "f0f70d9b104f32fdf98f8da0573a357224e82f4b465c50098a567a8f9081203e"),
}


def read(repository, select):
    """Yield (name, bytes) of the selected files of a bare repository's newest commit."""
    git = ["git", "-C", str(repository)]
    tree = subprocess.run([*git, "ls-tree", "-r", "-z", "HEAD"], capture_output=True, check=True)
    entries = (entry.split("\t", 1) for entry in tree.stdout.decode().split("\0") if entry)
    blobs = {name: what.split()[2] for what, name in entries if select(name)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*git, "cat-file", "--batch"], **pipes) as process:
        for name, blob in blobs.items():
            process.stdin.write(blob.encode() + b"\n")
            process.stdin.flush()
            size = process.stdout.readline().split()[-1]
            if size != b"missing":
                yield name, process.stdout.read(int(size))
                process.stdout.read(1)  # a newline


def lay_out_biq(repository, folder):
    """Write the training split of BIQ2021; return its photos."""
    table = dict(read(repository, lambda name: name == TRAINING_SPLIT))[TRAINING_SPLIT]
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    mos = {row["Image Name"].strip(): row["MOS"] for row in rows}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photos = []
    for name, data in read(repository, lambda name: name.removeprefix("Images/") in mos):
        photos.append(folder / "images" / Path(name).name)
        photos[-1].write_bytes(data)
    with open(folder / "mos.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "mos"])
        writer.writerows([photo.name, mos[photo.name]] for photo in sorted(photos))
    return photos


def lay_out_clive(repository, folder):
    """Write CLIVE, with its notice; return its photos."""
    for name, data in read(repository, lambda name: name.startswith(CLIVE)):
        path = folder / name.removeprefix(CLIVE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [Path(path) for path in load_clive(folder).data]


def digest(photos):
    """Return the SHA-256 of the names and bytes of photos, in the order of their names."""
    total = hashlib.sha256()
    for photo in sorted(photos, key=lambda photo: photo.name):
        own = hashlib.sha256(photo.read_bytes()).hexdigest()
        total.update(f"{photo.name}\t{own}\n".encode())
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--biq", type=Path, required=True, metavar="REPOSITORY")
    parser.add_argument("--clive", type=Path, required=True, metavar="REPOSITORY")
    parser.add_argument("--out", type=Path, default=Path("rated"))
    args = parser.parse_args()
    found = {
        "biq2021": lay_out_biq(args.biq, args.out / "biq2021"),
        "clive": lay_out_clive(args.clive, args.out / "ChallengeDB_release"),
    }
    wrong = False
    for name, photos in found.items():
        n, own = len(photos), digest(photos)
        expected = EXPECTED[name]
        wrong |= (n, own) != expected
        print(f"{name}: {n:,} photos, {own}" + ("" if (n, own) == expected else f" != {expected}"))
    sys.exit("These are not the photos that were measured." if wrong else 0)


if __name__ == "__main__":
    main()
