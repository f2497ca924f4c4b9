import contextlib
import errno
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from skiqa._inputs import addresses
from skiqa._inputs.addresses import (
    MissingPackage,
    file_system,
    is_address,
    open_address,
    public_name,
    read_address,
    retried,
)
from skiqa._inputs.containers import as_image_list
from skiqa.exceptions import ImageError


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(addresses, "WAITS", (0, 0, 0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a.jpg", True),
        ("zip://a.jpg::https://example.org/a.zip", True),
        ("simplecache::s3://bucket/a.jpg", True),
        ("C:/a.jpg", False),
        ("C://a.jpg", False),
        ("photos/a.jpg", False),
        ("a::b://c", False),
        (b"s3://bucket/a.jpg", False),
    ],
)
def test_addresses_are_told_from_paths(text, expected):
    assert is_address(text) is expected


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
        ("memory://a@b.jpg", "memory://a@b.jpg"),
        ("https://user:secret@h/a.jpg", "https://h/a.jpg"),
        ("https://token@h/a.jpg", "https://h/a.jpg"),
        ("tar://a.jpg::ftp://u:secret@h/a.tar", "tar://a.jpg::ftp://h/a.tar"),
        ("https://h/a?sig=secret&keyword=dog&n=1", "https://h/a?sig=...&keyword=dog&n=1"),
        ("https://h/a?X-Amz-Security-Token=secret", "https://h/a?X-Amz-Security-Token=..."),
        (
            "https://h/a?AWSAccessKeyId=secret&api_key=secret",
            "https://h/a?AWSAccessKeyId=...&api_key=...",
        ),
        ("photos/key=secret.jpg", "photos/key=secret.jpg"),  # a path holds none
    ],
)
def test_nothing_that_lets_others_in_is_shown(address, shown):
    assert public_name(address) == shown


def test_faults_that_pass_are_waited_for(no_waits):
    faults = [OSError(errno.EBUSY, "busy"), TimeoutError(), ConnectionResetError()]
    assert retried(lambda: _raise(faults.pop()) if faults else "read") == "read"
    faults = [OSError(errno.EIO, "failing")] * 4
    with pytest.raises(OSError, match="failing"):
        retried(lambda: _raise(faults.pop()))
    assert not faults  # one attempt, and one behind each wait


@pytest.mark.parametrize(
    "fault", [FileNotFoundError(), PermissionError(), ValueError(), KeyError()]
)
def test_faults_that_last_are_not(fault, no_waits):
    attempts = []
    with pytest.raises(type(fault)):
        retried(lambda: attempts.append(1) or _raise(fault))
    assert len(attempts) == 1


def _raise(error):
    raise error


def test_without_fsspec_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingPackage, match=r"https://h/a.jpg .* pip install 'skiqa\[sources\]'"):
        as_image_list(["https://u:p@h/a.jpg"]).load(0)


def test_package_for_a_kind_of_address_is_named(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(MissingPackage, match=r"reading abfs:// needs a package: .*adlfs"):
        file_system("abfs://container/a.jpg")
    with pytest.raises(ImageError, match="this kind of address is not known"):
        file_system("nonsense://a.jpg")


class _Web(BaseHTTPRequestHandler):
    """Files in memory; each address fails first, and long answers break off in the middle."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked, files, ranges = self.server.asked, self.server.files, self.server.ranges
        path = self.path.partition("?")[0]
        data = files.get(path)
        asked[path] = asked.get(path, 0) + 1
        if data is None or asked[path] in self.server.busy:
            self.send_response(404 if data is None else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range") if ranges else None
        start, end = 0, len(data) - 1
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(end, int(last or end))
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end + 1 - start))
        if ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        part = data[start : end + 1]
        torn = asked[path] in self.server.torn
        if self.command == "GET":
            with contextlib.suppress(OSError):  # the other end may have had enough
                self.wfile.write(part[: len(part) // 2] if torn else part)
        self.close_connection = torn

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    server.files, server.asked, server.busy, server.torn = {}, {}, (), ()
    server.ranges = True
    server.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_busy_server_is_asked_again(web, no_waits):
    web.files["/a.jpg"], web.busy, web.torn = b"x" * 1000, (1, 2), (3,)
    assert read_address(f"{web.root}/a.jpg") == b"x" * 1000
    assert web.asked["/a.jpg"] == 4


def test_missing_address_is_an_error_without_secrets(web, no_waits):
    with pytest.raises(ImageError, match="there is nothing at this address") as caught:
        as_image_list([f"{web.root}/none.jpg?token=secret"]).load(0)
    assert caught.value.kind == "missing"
    assert "token=..." in str(caught.value)
    assert "secret" not in str(caught.value)
    web.files["/a.jpg"], web.busy = b"x", range(9)
    with pytest.raises(ImageError, match=r"the address cannot be read .*503") as caught:
        read_address(f"{web.root}/a.jpg?token=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ranges", [True, False])
def test_long_reading_goes_on_behind_a_fault(web, no_waits, ranges):
    """Also of a server that sends only whole files, from their start."""
    data = bytes(range(256)) * 25_000
    web.files["/a.tar"], web.ranges, web.torn = data, ranges, (2, 4)
    with open_address(f"{web.root}/a.tar") as file:
        assert file.read(10) + file.read() == data
        if ranges:
            file.seek(-6, 2)
            assert file.read() == data[-6:]
    assert web.asked["/a.tar"] > 3


def test_address_is_read_once_for_one_picture(web, photo_paths):
    data = Path(photo_paths[0]).read_bytes()
    web.files["/a.jpg"] = data
    images = as_image_list([f"{web.root}/a.jpg", data])
    seen = []
    images.watch = lambda index, pixels: seen.append((images.is_animated(index), pixels.shape))
    assert images.footprint(0) == images.footprint(1) > 0
    assert (images.load(0) == images.load(1)).all()
    assert seen == [(False, (427, 640, 3))] * 2
    assert web.asked["/a.jpg"] == 1
    assert images.digest(0) == images.digest(1)
