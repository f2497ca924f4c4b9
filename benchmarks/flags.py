"""Flags of real photos, which are false alarms, and of pictures made to be odd.

    python benchmarks/flags.py [--photos FOLDER ...] [--every N] [--cache-dir DIR] [--show]

The first table counts the photos of each folder, and of those below it, that have each flag, and
those that have any; --show names them. The second table says which flags made pictures have, how
far their features are from the average photo, and what they are scored.
"""

import argparse
import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

import skiqa
from skiqa._inputs.formats import EXTENSIONS
from skiqa.persistence import iter_quality

FLAGS = (
    "blank",
    "nearly uniform",
    "tiny",
    "extreme shape",
    "upscaled",
    "animated",
    "damaged",
    "unlike",
)


def show_photos(model, folders, every, show):
    print("| folder | photos | " + " | ".join(FLAGS) + " | any |")
    print("| --- | ---: |" + " ---: |" * (len(FLAGS) + 1))
    total, n_total = Counter(), 0
    for folder in folders:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS)
        paths, counts, named = paths[::every], Counter(), []
        for quality in iter_quality(model, paths, n_jobs=1):
            counts.update([*quality.flags, *(["any"] if quality.flags else [])])
            if quality.flags or quality.error:
                named.append(f"{paths[quality.index]}: {quality.score:.1f} {quality.flags}")
        print_counts(f"{folder.parent.name}/{folder.name}", len(paths), counts)
        if show:
            print("\n".join(named))
        total, n_total = total + counts, n_total + len(paths)
    print_counts("all", n_total, total)


def print_counts(name, n, counts):
    print(f"| {name} | {n:,} | " + " | ".join(str(counts[flag]) for flag in (*FLAGS, "any")) + " |")


def encode(photo, format, n_frames=1, **options):
    frames = [photo.rotate(180 * k) for k in range(n_frames)]
    if n_frames > 1:
        options |= {"save_all": True, "append_images": frames[1:]}
    buffer = io.BytesIO()
    frames[0].save(buffer, format, **options)
    return buffer.getvalue()


def oddities():
    """Return {what it is: image}."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(load_sample_images().images[0])  # 640 x 427
    small = photo.resize((320, 213), Image.Resampling.LANCZOS)
    twice = small.resize((640, 426), Image.Resampling.NEAREST)
    rows, columns = np.indices((400, 600))
    page = Image.new("RGB", (640, 800), "white")
    words = "The quick brown fox jumps over the lazy dog, and so do all of the others. "
    for line in range(36):
        place, text = (40, 40 + 20 * line), words[line % 9 :]
        ImageDraw.Draw(page).text(place, text, "black", ImageFont.load_default(14))
    product = Image.new("RGB", (800, 800), "white")
    product.paste(photo.resize((240, 160)), (280, 320))
    jpeg = encode(photo, "JPEG", quality=90)
    half = len(jpeg) // 2
    return {
        "a photo": photo,
        "its negative": Image.eval(photo, lambda level: 255 - level),
        "it, upside down": photo.rotate(180),
        "in 8 colors": photo.quantize(8, dither=Image.Dither.NONE).convert("RGB"),
        "black frame": np.zeros((400, 600, 3), np.uint8),
        "gray square": np.full((400, 400, 3), 128, np.uint8),
        "black with noise": rng.normal(8, 4, (400, 600, 3)).clip(0, 255).astype(np.uint8),
        "gradient": np.repeat((columns * 255 // 599)[..., None], 3, 2).astype(np.uint8),
        "one pixel": np.full((1, 1, 3), 90, np.uint8),
        "checkerboard of 1 pixel": ((rows + columns) % 2 * 255).astype(np.uint8),
        "checkerboard of 20 pixels": ((rows // 20 + columns // 20) % 2 * 255).astype(np.uint8),
        "stripes": (columns // 10 % 2 * 255).astype(np.uint8),
        "uniform noise": rng.integers(0, 256, (400, 600, 3), np.uint8),
        "a page of text": page,
        "a small photo on white": product,
        "a small photo, 160 x 107": photo.resize((160, 107)),
        "a thumbnail, 48 x 32": photo.resize((48, 32)),
        "a strip, 640 x 100": photo.crop((0, 200, 640, 300)),
        "a photo twice as large, nearest": twice,
        "1.5 times, nearest": small.resize((480, 319), Image.Resampling.NEAREST),
        "twice, nearest, as JPEG": encode(twice, "JPEG", quality=90),
        "twice, bicubic": small.resize((640, 426), Image.Resampling.BICUBIC),
        "four times, bicubic": photo.resize((160, 107)).resize((640, 428)),
        "animated GIF": encode(photo.quantize(), "GIF", n_frames=2),
        "animated PNG": encode(photo, "PNG", n_frames=2),
        "animated WebP": encode(photo, "WEBP", n_frames=2),
        "MPO of two": encode(photo, "MPO", n_frames=2),
        "TIFF of two pages": encode(photo, "TIFF", n_frames=2),
        "a JPEG that lost 512 bytes": jpeg[:half] + jpeg[half + 512 :],
    }


def show_oddities(model):
    made = oddities()
    model[0].set_params(allow_damaged=True, cache_dir=None)
    distances = [np.linalg.norm(row) for row in model[0].transform(list(made.values()))]
    print("\n| picture | flags | distance | score |\n| --- | --- | ---: | ---: |")
    for name, distance, quality in zip(
        made, distances, iter_quality(model, list(made.values())), strict=True
    ):
        print(f"| {name} | {', '.join(quality.flags)} | {distance:.2f} | {quality.score:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--cache-dir", help="Keep features there for another run.")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="Each N-th photo only.")
    parser.add_argument("--max-pixels", type=int, help="Look at photos at another size.")
    parser.add_argument("--show", action="store_true", help="Name the photos that have flags.")
    arguments = parser.parse_args()
    model = skiqa.load_model()
    model[0].set_params(cache_dir=arguments.cache_dir)
    if arguments.max_pixels:
        model[0].set_params(max_pixels=arguments.max_pixels)
    if arguments.photos:
        show_photos(model, arguments.photos, arguments.every, arguments.show)
    show_oddities(model)


if __name__ == "__main__":
    main()
