"""How quick is a report of thousands of photos in a browser?

    pip install selenium       # and Chromium with its driver
    python benchmarks/report.py [--photos 5000]

Makes a page of so many photos by the writer of `skiqa report`: 40 different crops are scored and
stand for all, under numbers as names and with scores moved a little. Headless Chromium opens it:
prints the time until the first screen stands with its thumbnails decoded, and until the screen is
drawn again after a new order, a filter, and a jump to the end. Ends with status 1 if a first screen
took 3 s or a new order 1 s.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from selenium import webdriver
from sklearn.datasets import load_sample_images

import skiqa
from skiqa.cli import _report


def originals(folder, n=40):
    """Write crops of two photos, sharp and blurred; return their paths."""
    paths = []
    for k in range(n):
        photo = Image.fromarray(load_sample_images().images[k % 2])
        left, top = 13 * k % 340, 7 * k % 120
        photo = photo.crop((left, top, left + 300, top + 300 - 2 * k))
        paths.append(f"{folder}/{k}.jpg")
        photo.filter(ImageFilter.GaussianBlur(k / 20)).save(paths[-1])
    return paths


def write(path, n):
    """Write a report of n photos."""
    photos, rows = _report._with_thumbnails(originals(os.path.dirname(path))), []
    for index, score, cells, _ in _report._scored(skiqa.load_model(), photos, None, True):
        thumbnail, size = photos.thumbnail(index)
        rows.append((score, {"thumbnail": thumbnail, "size": size} | _report._encoded(cells)))
    noise = np.random.default_rng(0).normal(0, 5, n)
    with _report._Page(path) as page:
        for k in range(n):
            score, photo = rows[k % len(rows)]
            name = f"photo {k:05d}.jpg"
            page.add({"name": name, "link": name, "score": round(score + noise[k], 6)} | photo)
        about = {"source": "photos", "model": "the scorer that comes with skiqa", "made": "skiqa"}
        page.close(**about, grid=_report.GRID, unreadable=[], notes=[])


def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1400,1000"):
        options.add_argument(argument)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


# Calls back when the screen is drawn and each of its thumbnails decoded.
DRAWN = """
const done = arguments[arguments.length - 1], began = performance.now();
ACT;
const look = () => {
  const seen = [...document.querySelectorAll(".card")].filter(card => {
    const {top, bottom} = card.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  const images = seen.map(card => card.querySelector("img"));
  if (!seen.length || !images.every(image => image?.complete)) return requestAnimationFrame(look);
  Promise.all(images.map(image => image.decode()))
    .then(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))));
};
requestAnimationFrame(look);
"""


def acted(browser, act):
    """Return the milliseconds from an act to the screen that shows it."""
    return browser.execute_async_script(DRAWN.replace("ACT", act))


def opened(browser, page):
    """Return the milliseconds from asking for a page to its first screen."""
    began = time.perf_counter()
    browser.get(Path(page).as_uri())
    acted(browser, "")
    return 1000 * (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = f"{folder}/report.html"
        write(page, args.photos)
        print(f"{args.photos} photos, {os.path.getsize(page) / 1e6:.1f} MB\n")
        times = {"first screen": [], "new order": [], "filter": [], "jump to the end": []}
        for _ in range(args.rounds):
            browser = chromium()  # a new one: nothing is cached
            try:
                times["first screen"].append(opened(browser, page))
                for order in ("best", "name", "worst"):
                    act = f"$('order').value = '{order}'; sort()"
                    times["new order"].append(acted(browser, act))
                act = "ranges.from.value = (lowest + highest) / 2; update()"
                times["filter"].append(acted(browser, act))
                act = "document.forms[0].reset(); update(); scrollTo(0, document.body.scrollHeight)"
                times["jump to the end"].append(acted(browser, act))
            finally:
                browser.quit()
    print("| what | best, ms | worst, ms |\n| --- | --- | --- |")
    for name, values in times.items():
        print(f"| {name} | {min(values):.0f} | {max(values):.0f} |")
    sys.exit(int(max(times["first screen"]) >= 3000 or max(times["new order"]) >= 1000))


if __name__ == "__main__":
    main()
