"""Damaged files: how many are found, by Pillow alone and by the second look; false alarms; cost.

    python benchmarks/damage.py --photos FOLDER [--part found|false|cost] [--n 12]

found       Twelve photos, 512 x 400 at most, written in each format and hurt in six ways: 512 bytes
            zeroed, dropped, replaced by others of the file; cut off; cut off and closed with the
            format's end; one bit turned over (four times for each photo). Of how many the reading
            fails, by Pillow alone and with the second look, and how many are read though more than
            a tenth of the area differs by more than 8 of 255.
false       Photos of the folder, and those below, that the second look calls damaged.
cost        CPU milliseconds of the second look, and of reading to half a megapixel without it, for
            a photo of 512 x 512 and one of 4000 x 3000.
"""

import argparse
import io
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from skiqa._inputs.decode import damage, to_rgb
from skiqa.exceptions import ImageError

FORMATS = {
    "JPEG": ("JPEG", {"quality": 88}),
    "JPEG, progressive": ("JPEG", {"quality": 88, "progressive": True}),
    "JPEG, restarts": ("JPEG", {"quality": 88, "restart_marker_rows": 1}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 85}),
    "WebP, lossless": ("WEBP", {"lossless": True}),
    "AVIF": ("AVIF", {"quality": 75}),
    "HEIC": ("HEIC", {"quality": 75}),
    "JPEG 2000": ("JPEG2000", {"quality_mode": "rates", "quality_layers": [12]}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "TIFF, deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg", "quality": 88}),
}
END = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82", "GIF": b"\0;"}
HARM = ("zeroed", "dropped", "spliced", "cut", "closed", "one bit")


def encode(photo, format, options):
    buffer = io.BytesIO()
    if format == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(photo).save(buffer, **options)
    else:
        photo.save(buffer, format, **options)
    return buffer.getvalue()


def hurt(data, how, rng, end):
    """Return the bytes of a file after some harm, at a random place of its middle four fifths."""
    low, high = len(data) // 10, len(data) - len(data) // 10 - 512
    at = int(rng.integers(low, high))
    if how == "one bit":
        return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    if how in ("cut", "closed"):
        return data[:at] + (end if how == "closed" else b"")
    other = int(rng.integers(low, high))
    between = {"zeroed": bytes(512), "dropped": b"", "spliced": data[other : other + 512]}
    return data[:at] + between[how] + data[at + 512 :]


def ruined(data, good):
    """Return which part of the area differs; None: it is not read."""
    try:
        pixels = to_rgb(data, allow_damaged=True)
    except ImageError:
        return None
    if pixels.shape != good.shape:
        return 1.0
    return (np.abs(pixels.astype(int) - good).max(axis=2) > 8).mean()


def show_found(paths):
    print("| format | " + " | ".join(HARM) + " | over 10 % ruined, and read |")
    print("| --- |" + " ---: |" * (len(HARM) + 1))
    for name, (format, options) in FORMATS.items():
        rng = np.random.default_rng(0)
        before, after, n, silent = Counter(), Counter(), Counter(), Counter()
        for path in paths:
            photo = Image.open(path).convert("RGB").crop((0, 0, 512, 400))
            data = encode(photo.quantize(256) if format == "GIF" else photo, format, options)
            good = to_rgb(data).astype(int)
            for how in HARM:
                for _ in range(4 if how == "one bit" else 1):
                    bad = hurt(data, how, rng, END.get(format, b""))
                    area = ruined(bad, good)
                    found = area is None or damage(bad) is not None
                    n[how] += 1
                    before[how] += area is None
                    after[how] += found
                    silent["before"] += area is not None and area > 0.1
                    silent["after"] += not found and area > 0.1
        cells = [f"{before[how]} → {after[how]} of {n[how]}" for how in HARM]
        print(f"| {name} | {' | '.join(cells)} | {silent['before']} → {silent['after']} |")


def show_false_alarms(paths):
    found = {path: problem for path in paths if (problem := damage(path)) is not None}
    print(f"{len(found)} of {len(paths)} photos are called damaged")
    for path, problem in found.items():
        print(f"{path}: {problem}")


def show_cost(path):
    print("| | second look, ms | reading, ms |\n| --- | ---: | ---: |")
    for size in ((512, 512), (4000, 3000)):
        photo = Image.open(path).convert("RGB").resize(size)
        for name in ("JPEG", "JPEG, progressive", "PNG", "WebP", "AVIF"):
            data = encode(photo, *FORMATS[name])
            look = cpu_time(lambda data=data: damage(data))
            read = cpu_time(lambda data=data: to_rgb(data, 480_000, allow_damaged=True))
            print(f"| {name}, {size[0]} x {size[1]} | {look:.1f} | {read:.1f} |")


def cpu_time(work):
    times = []
    for _ in range(5):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--part", choices=["found", "false", "cost"])
    parser.add_argument("--n", type=int, default=12)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    suffixes = {".jpg", ".jpeg", ".png"}
    paths = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in suffixes)
    few = paths[:: max(1, len(paths) // arguments.n)][: arguments.n]
    if arguments.part in (None, "found"):
        show_found(few)
    if arguments.part in (None, "false"):
        show_false_alarms(paths)
    if arguments.part in (None, "cost"):
        show_cost(few[0])


if __name__ == "__main__":
    main()
