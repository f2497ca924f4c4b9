"""skiqa report: what the page holds, and, where Chromium is, what a browser makes of it."""

import base64
import io
import json
import os
import re
import shutil
import time
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa.cli import main
from skiqa.cli._files import printable
from skiqa.cli._page import Page
from skiqa.inspection import quality_map
from skiqa.persistence import save

# In the folder "<" it ends a script element; the last character stands for a byte that is no UTF-8.
HOSTILE = "script><script>document.title='taken'<!-- %23 \" '\udcff.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of nine photos and of two files that are none."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "photos" / "<").mkdir(parents=True)
    china, flower = map(Image.fromarray, load_sample_images().images)
    for k in range(8):
        photo = (china, flower)[k % 2].crop((40 * k, 20, 40 * k + 200, 140))
        photo = photo.filter(ImageFilter.GaussianBlur(k / 2))
        photo.save(folder / "photos" / f"photo-{k}.png")
    flower.crop((0, 0, 120, 90)).save(folder / "photos" / "<" / HOSTILE)
    (folder / "photos" / "no photo.jpg").write_text("nothing")
    (folder / "photos" / "empty <b>.jpg").write_bytes(b"")
    result = report("-r", "--html", folder / "page.html", folder / "photos")
    assert result.exit_code == 1, result.output  # two could not be read
    assert "2 of 11 files could not be read" in result.output
    assert "page.html: 9 photos" in result.output
    return folder


def report(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def data(page):
    """Return (photos, report) as the page's script reads them."""
    text = page.read_text("utf-8")
    start = '<script type="application/json" id='
    parts = [rf'{start}"{name}">(.*?)</script>' for name in ("photos", "report")]
    return [json.loads(re.search(part, text, re.DOTALL)[1]) for part in parts]


def test_the_page_holds_scores_thumbnails_and_maps(folder):
    photos, about = data(folder / "page.html")
    model = skiqa.load_model()
    assert about["grid"] == [16, 16]
    assert about["scale"] == "Scores are about 0 (bad) to 100 (excellent); higher is better."
    for photo in photos:
        path = folder / os.fsdecode(urllib.parse.unquote_to_bytes(photo["link"]))
        score, cells = quality_map(model, path)
        assert photo["score"] == pytest.approx(score, abs=1e-4)
        with Image.open(path) as original:
            assert tuple(photo["size"]) == original.size
        with Image.open(io.BytesIO(base64.b64decode(photo["thumbnail"]))) as thumbnail:
            assert max(thumbnail.size) == min(160, max(photo["size"]))
        reach = photo["reach"]
        shown = (np.frombuffer(base64.b64decode(photo["map"]), np.uint8) - 128.0) / 127 * reach
        difference = cells * 256 - score
        assert abs(difference).max() == pytest.approx(reach, rel=1e-3)
        np.testing.assert_allclose(shown, difference.ravel(), atol=0.006 * reach)  # a byte's step
    reasons = {file["name"]: file["reason"] for file in about["unreadable"]}
    assert [Path(name).name for name in sorted(reasons)] == ["empty <b>.jpg", "no photo.jpg"]
    assert all(reasons.values())


def test_the_page_may_do_nothing_but_show_itself(folder):
    text = (folder / "page.html").read_text("utf-8")
    assert text.count("</script>") == 3  # the name that would end one does not
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not re.findall(r"(?:src|href)=[\"']?https?:", text)


def test_models_without_maps(folder, tmp_path):
    photos = [str(path) for path in sorted(folder.glob("photos/photo*"))]
    # with its cache, `fit` leaves nothing to decode for the scores
    encoder = ContrastiveQualityEncoder(scales=(0.5,), cache_dir=str(tmp_path / "cache"))
    neighbors = make_pipeline(encoder, KNeighborsRegressor(2)).fit(photos, range(8))
    save(neighbors, tmp_path / "neighbors.skops")
    done = report("--model", tmp_path / "neighbors.skops", "--html", tmp_path / "a.html", *photos)
    assert done.exit_code == 0, done.output
    shown, about = data(tmp_path / "a.html")
    assert about["grid"] is None
    assert re.match("No quality maps: .*KNeighborsRegressor has no coef_", about["notes"][0])
    assert [photo["score"] for photo in shown] == list(neighbors.predict(photos))
    which = f"the ratings that {tmp_path / 'neighbors.skops'} was fitted to"
    assert about["scale"] == f"Scores are on the scale of {which}; higher is better."
    assert all(photo["thumbnail"] for photo in shown)

    ridge = make_pipeline(encoder, Ridge()).fit(photos, range(8))
    save(ridge, tmp_path / "ridge.skiqa")
    options = ["--no-maps", "--model", tmp_path / "ridge.skiqa", "--html", tmp_path / "b.html"]
    done = report(*options, *photos)
    assert done.exit_code == 0, done.output
    shown, about = data(tmp_path / "b.html")
    assert about["grid"] is None
    assert about["notes"] == ["No quality maps: left out by --no-maps."]
    assert "map" not in shown[0]


@pytest.mark.parametrize("options", [[], ["--no-maps"]])
def test_flags(photo_paths, tmp_path, options):
    Image.new("RGB", (90, 70), "black").save(tmp_path / "black.png")
    done = report(
        tmp_path / "black.png", photo_paths[0], "--html", tmp_path / "page.html", *options
    )
    assert done.exit_code == 0, done.output
    black, photo = data(tmp_path / "page.html")[0]
    assert black["flags"] == ["blank", "unlike"]
    assert "flags" not in photo


def test_what_it_refuses(folder, tmp_path):
    photos, page = folder / "photos", tmp_path / "page.html"
    done = report(photos, "--html", tmp_path / "page.txt")
    assert done.exit_code == 2
    assert "must end in .html" in done.output
    page.write_text("mine")
    done = report(photos, "--html", page)
    assert done.exit_code == 2
    assert "--overwrite" in done.output
    done = report(photos, "--html", page, "--overwrite", "--on-error", "raise")
    assert done.exit_code == 1
    assert "Error: " in done.output
    assert page.read_text() == "mine"  # whole or not at all
    assert os.listdir(tmp_path) == ["page.html"]


def test_interrupted_keeps_what_is_done(folder, tmp_path, monkeypatch):
    def interrupted(model, photos, jobs, maps):
        photos.load(next(photos.indices()))
        yield 0, 50.0, None, None, ()
        raise KeyboardInterrupt

    monkeypatch.setattr("skiqa.cli._report._iter_scores", interrupted)
    done = report(*sorted(folder.glob("photos/photo*")), "--html", tmp_path / "page.html")
    assert done.exit_code == 130
    photos, about = data(tmp_path / "page.html")
    assert len(photos) == 1
    assert about["notes"] == ["Interrupted: 1 of 8 files were looked at."]


# In a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(folder):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.get((folder / "page.html").as_uri())
    yield browser
    log = browser.get_log("browser")
    browser.quit()
    assert log == []  # no error of the script, nothing that the policy forbade


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def shown(browser):
    """Return the scores on the page, in order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('.card .score')].map(x => +x.textContent)"
    )


def enter(browser, selector, value, event):
    script = """
        const x = document.querySelector(arguments[0]); x.value = arguments[1];
        x.dispatchEvent(new Event(arguments[2], {bubbles: true}))"""
    browser.execute_script(script, selector, value, event)


def test_order_and_filters(browser, folder):
    wait_for(lambda: len(shown(browser)) == 9)
    scores = shown(browser)
    assert scores == sorted(scores)
    enter(browser, "#order", "best", "change")
    assert shown(browser) == sorted(scores, reverse=True)
    enter(browser, "#from", scores[4], "input")
    wait_for(lambda: shown(browser) == sorted(scores[4:], reverse=True))
    assert browser.find_element("id", "count").text == "5 of 9 photos"
    browser.find_element("css selector", "button[type=reset]").click()
    wait_for(lambda: shown(browser) == scores)
    enter(browser, "#text", "PHOTO-7 .png", "input")
    wait_for(lambda: len(shown(browser)) == 1)
    assert browser.find_element("css selector", ".card .name").text == "photo-7.png"
    assert browser.find_element("id", "count").text == "1 of 9 photos"
    browser.find_element("css selector", "button[type=reset]").click()
    wait_for(lambda: shown(browser) == scores)
    n_flagged = sum("flags" in photo for photo in data(folder / "page.html")[0])
    for choice, n in (("any", n_flagged), ("no", 9 - n_flagged), ("all", 9)):
        enter(browser, "#flag", choice, "change")
        assert len(shown(browser)) == n
    assert "2 files without a score" in browser.page_source


def test_a_map_appears_under_the_pointer(browser):
    from selenium.webdriver import ActionChains

    card = browser.find_element("css selector", ".card")
    assert not card.find_elements("tag name", "canvas")
    ActionChains(browser).move_to_element(card).perform()
    wait_for(lambda: card.find_elements("tag name", "canvas"))
    script = """
        const c = arguments[0].querySelector('canvas');
        return [getComputedStyle(c).opacity,
            new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size]"""
    colors = browser.execute_script(script, card)
    assert colors[0] == "1"
    assert colors[1] > 10


def test_a_hostile_name_is_a_name(browser, folder):
    assert browser.title == "Photo quality"
    links = browser.execute_script(
        "return [...document.querySelectorAll('.card a')].map(x => [x.title, x.href])"
    )
    (link,) = (href for title, href in links if printable(f"</{HOSTILE}") in title)
    path = os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlparse(link).path))
    assert Path(path) == folder / "photos" / "<" / HOSTILE


def test_thousands_of_photos_are_made_as_they_come_near(browser, folder, tmp_path):
    (photo, *_), about = data(folder / "page.html")
    with Page(str(tmp_path / "many.html")) as page:
        for k in range(3000):
            page.add(photo | {"name": f"{k}.png", "score": float(k)})
        page.close(**about)
    browser.get((tmp_path / "many.html").as_uri())
    wait_for(lambda: browser.execute_script("return document.images[0]?.naturalWidth"))
    counts = browser.execute_script(
        "return [document.querySelectorAll('.card').length, document.images.length,"
        " document.body.scrollHeight / innerHeight]"
    )
    assert counts[0] < 300
    assert counts[1] <= counts[0]
    assert counts[2] > 50  # the scroll bar is that of all
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    last = """
        const card = [...document.querySelectorAll('.card')].at(-1);
        const image = card.querySelector('img'), {top} = card.getBoundingClientRect();
        return [card.querySelector('.name').textContent, top > 0 && top < innerHeight,
            image?.naturalWidth > 0, document.images.length < 600]"""
    wait_for(lambda: browser.execute_script(last) == ["2999.png", True, True, True])


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            _write_a_page(tmp_path / "page.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path)


def _write_a_page(path):
    with Page(str(path)) as page:
        page.add({"name": "a.jpg", "thumbnail": 20_000 * "x"})
        page.close(notes=[])
