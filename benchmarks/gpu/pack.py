"""Pack crops of photos into one small file, to be trained on where the photos are not.

    python benchmarks/gpu/pack.py PHOTOS... --out pack.zip

Of each photo under the folders one random square is kept, as JPEG of quality 95, until the file has
its size. A photo that is much larger is first reduced by whole blocks of pixels, which removes what
compression has left in it.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
KEPT_PIXELS = 2**20  # a photo of twice as many is reduced


def square(path, side, rng):
    """Return a random square of a photo as a PIL image, or None where it is smaller."""
    with Image.open(path) as photo:
        photo = photo.convert("RGB")
    factor = int((photo.width * photo.height / KEPT_PIXELS) ** 0.5)
    if factor > 1:
        photo = photo.reduce(factor)
    if min(photo.size) < side:
        return None
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    return photo.crop((left, top, left + side, top + side))


def pack(paths, file, *, side, mib, seed=0):
    """Write the squares of photos, in random order, into a zip file; return how many."""
    rng, n, size = np.random.default_rng(seed), 0, 0
    with zipfile.ZipFile(file, "w") as archive:  # JPEG does not get smaller
        for i in rng.permutation(len(paths)):
            crop = square(paths[i], side, rng)
            if crop is None:
                continue
            buffer = io.BytesIO()
            crop.save(buffer, "JPEG", quality=95, subsampling=0)
            size += buffer.tell() + 200  # and what zip says of it
            if size > mib * 2**20:
                break
            archive.writestr(f"{n:05d}.jpg", buffer.getvalue())
            n += 1
    return n


def unpack(file):
    """Return the squares, each the bytes of a JPEG file."""
    with zipfile.ZipFile(file) as archive:
        return [archive.read(name) for name in archive.namelist()]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pack.zip"))
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--mib", type=float, default=50)
    args = parser.parse_args()
    paths = [p for f in args.folders for p in sorted(f.rglob("*")) if p.suffix.lower() in SUFFIXES]
    n = pack(paths, args.out, side=args.side, mib=args.mib)
    print(f"{n} squares of {len(paths)} photos, {args.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
