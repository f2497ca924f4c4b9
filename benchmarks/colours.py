"""Photos written in other colours and depths: how far their scores lie from their own.

    python benchmarks/colours.py --photos FOLDER [--n 12]

Each photo is written as PNG in other RGB spaces with a profile, in PQ and HLG with 203 cd/m² for
white, and with 10, 12 and 14 bits, and scored by the bundled model. For how it was before, run it
with PYTHONPATH set to an earlier checkout.
"""

import argparse
import io
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import skiqa

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from made_files import BT2020, hlg, png, pq, rgb_profile, rgb_to_xyz

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SPACES = {
    "Display P3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), 2.2),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2),
    "ProPhoto RGB": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8),
    "BT.2020": (BT2020, 2.4),
    "linear light": (SRGB, 1.0),
}


def levels(values, bits=8):
    return np.rint(values * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def written(pixels):
    """Yield (name, encoded photo) of a photo (h, w, 3), uint8."""
    code = pixels / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    for name, (corners, gamma) in SPACES.items():
        buffer = io.BytesIO()
        values = in_primaries(light, corners) ** (1 / gamma)
        profile = rgb_profile(corners, gamma)
        Image.fromarray(levels(values)).save(buffer, "PNG", icc_profile=profile)
        yield name, buffer.getvalue()
    for name, curve, transfer in (("PQ", pq, 16), ("HLG", hlg, 18)):
        for bits in (8, 16):
            values = levels(curve(203 * in_primaries(light, BT2020)), bits)
            yield f"{name}, {bits} bits", png(values, cICP=bytes([9, transfer, 0, 1]))
    for bits in (10, 12, 14):
        yield f"{bits} bits in 16", png(levels(code, bits), sBIT=bytes([bits] * 3))


def in_primaries(light, corners):
    return (light @ (np.linalg.inv(rgb_to_xyz(corners)) @ rgb_to_xyz(SRGB)).T).clip(0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--n", type=int, default=12)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    model = skiqa.load_model()
    differences = {}
    for path in paths[:: max(1, len(paths) // arguments.n)][: arguments.n]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        names, files = zip(*written(pixels), strict=True)
        own, *scores = model.predict([pixels, *files])
        for name, score in zip(names, scores, strict=True):
            differences.setdefault(name, []).append(abs(score - own))
    for name, values in differences.items():
        print(f"| {name} | {np.mean(values):.2f}, {np.max(values):.2f} |")


if __name__ == "__main__":
    main()
