"""Does it matter where pictures lie? Scoring from a folder, a tar shard, a table, and a bucket.

    pip install -e '.[sources,dask]' s3fs 'moto[server]'
    python benchmarks/sources.py [--n 300] [--part shards|flat|bucket|dask] [--alone 300]

shards: n JPEGs of 128 x 96, cut from scikit-learn's two photos, from a folder, a tar archive and a
Parquet table of 1,000 each, by `skiqa score` in a process of its own: seconds, CPU-seconds, peak
memory, and whether the rows are equal.

flat: `iter_images` alone over n and over 10 n pictures in shards: the peak memory of a process
each.

bucket: the same JPEGs from a server on loopback that speaks S3 (moto's), in which every 5th answer
to a GET is a 503: whether all rows are equal to those of the folder, and how many 503s there were.

dask: n pictures in shards by two workers, of which one is killed with -9 when half of the rows are
there, against one process: is every row there once, and the same; seconds, CPU-seconds, peak memory
at a tenth and at the end. --alone is how many of them, from the first, the one process has.
"""

import argparse
import csv
import functools
import hashlib
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

PER_SHARD = 1000


def jpegs(n):
    """Yield (name, bytes) of crops, all of them different."""
    photos = load_sample_images().images
    for k in range(n):
        top, left = 13 * k % 331, 7 * k % 512
        crop = Image.fromarray(photos[k % 2][top : top + 96, left : left + 128])
        file = io.BytesIO()
        crop.save(file, "JPEG", quality=90 - k % 60)
        yield f"{k:06d}.jpg", file.getvalue()


def write(folder, n, tables=True):
    """Write photos/, shards/*.tar and, if asked to, tables/*.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("photos", "shards", "tables"):
        Path(folder, name).mkdir()
    entries = list(jpegs(n))
    for start in range(0, n, PER_SHARD):
        some = entries[start : start + PER_SHARD]
        with tarfile.open(f"{folder}/shards/{start:06d}.tar", "w") as tar:
            for name, data in some:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
                Path(folder, "photos", name).write_bytes(data)
        if tables:
            rows = [{"bytes": data, "path": name} for name, data in some]
            table = pa.table({"image": rows})
            pq.write_table(table, f"{folder}/tables/{start:06d}.parquet", row_group_size=100)


def command(*arguments, env=None):
    """Run a command; return (seconds, CPU-seconds, peak MiB, standard output)."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(arguments, stdout=out, env=env)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            sys.exit(f"{arguments} ended with status {status}")
        out.seek(0)
        text = out.read().decode()
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text


def scores(text):
    return [row["score"] for row in csv.DictReader(io.StringIO(text))]


def score(*places, env=None):
    return command("skiqa", "score", *places, "--csv", "-", env=env)


def shards(folder, n):
    write(folder, n)
    os.chdir(folder)
    expected = None
    print("| from | s | CPU-s | pictures/s | peak MiB | rows |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for place in ("photos", "shards/*.tar", "tables/*.parquet"):
        seconds, cpu, peak, text = score(place)
        expected = expected or scores(text)
        same = "the same" if scores(text) == expected and len(expected) == n else "OTHERS"
        print(f"| {place} | {seconds:.1f} | {cpu:.1f} | {n / seconds:.1f} | {peak:.0f} | {same} |")


READ = """
import glob, sys
from skiqa.sources import iter_images
n = sum(len(image) > 100 for _, image in iter_images(sorted(glob.glob("shards/*.tar"))))
assert n == int(sys.argv[1]), n
"""


def flat(folder, n):
    for number in (n, 10 * n):
        below = Path(folder, str(number))
        below.mkdir()
        write(below, number, tables=False)
        os.chdir(below)
        seconds, _, peak, _ = command(sys.executable, "-c", READ, str(number))
        print(f"{number} pictures in shards read: {seconds:.1f} s, peak {peak:.0f} MiB")


def bucket(folder, n):
    import boto3
    import moto.server
    from werkzeug.serving import make_server

    write(folder, n, tables=False)
    os.chdir(folder)
    moto_app = moto.server.DomainDispatcherApplication(moto.server.create_backend_app)
    counts = {"GET": 0, "503": 0}
    failing = threading.Event()

    def app(environ, start_response):
        counts["GET"] += environ["REQUEST_METHOD"] == "GET"
        if failing.is_set() and environ["REQUEST_METHOD"] == "GET" and counts["GET"] % 5 == 0:
            counts["503"] += 1
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        return moto_app(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = os.environ | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ.update(env)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="photos")
    for path in sorted(Path("photos").iterdir()):
        s3.upload_file(str(path), "photos", f"many/{path.name}")
    for path in sorted(Path("shards").iterdir()):
        s3.upload_file(str(path), "photos", f"shards/{path.name}")
    expected = scores(score("photos")[3])
    failing.set()
    for place in ("s3://photos/many/", "s3://photos/shards/*.tar"):
        before = dict(counts)
        seconds, cpu, peak, text = score(place, env=env)
        gets, busy = (counts[key] - before[key] for key in counts)
        same = "the same" if scores(text) == expected and len(expected) == n else "OTHERS"
        secret = "secret" in text
        print(
            f"{place}: {n} rows {same}, {seconds:.1f} s, {cpu:.1f} CPU-s, peak {peak:.0f} MiB; "
            f"{gets} GETs, {busy} answered by 503; secrets in rows: {secret}"
        )
    server.shutdown()


def write_shards(folder, n):
    """Write shards/*.tar alone, one picture in memory at a time; at least ten shards."""
    Path(folder, "shards").mkdir()
    entries = jpegs(n)
    for start in range(0, n, size := max(1, min(PER_SHARD, n // 10))):
        with tarfile.open(f"{folder}/shards/{start:06d}.tar", "w") as tar:
            for name, data in itertools.islice(entries, size):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def digest_of(rows, n, first, then=None):
    """Return a hash of the first rows in order, and the peak MiB at a tenth and at the end of n."""
    digest, peaks = hashlib.sha256(), []
    names, count = set(), 0
    for count, row in enumerate(rows, 1):
        if count <= first:
            digest.update(repr(row).encode())
        names.add(hash(row.file))
        if count == n // 10:
            peaks.append(peak_mib())
        if count == n // 2 and then is not None:
            then()
    assert count == len(names) == n, f"{count} rows of {len(names)} pictures, expected {n}"
    return digest.hexdigest(), [*peaks, peak_mib()]


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one_process(places, n):
    """Score in this process, one photo at a time; return hash, peaks, seconds, CPU-seconds."""
    from skiqa.distributed import score as score_rows

    start, before = time.perf_counter(), cpu_seconds()
    digest, peaks = digest_of(score_rows(places, n_jobs=1), n, n)
    return digest, peaks, time.perf_counter() - start, cpu_seconds() - before


def dask(folder, n, alone):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from distributed import Client

    from skiqa.distributed import score as score_rows

    write_shards(folder, n)
    os.chdir(folder)
    places = sorted(map(str, Path("shards").iterdir()))
    some = places[: max(1, alone * len(places) // n)]
    alone = len(some) * (n // len(places))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        expected, peaks, seconds, cpu = pool.submit(one_process, some, alone).result()
    print(
        f"{alone} pictures in {len(some)} shards, one process: {seconds:.1f} s, {cpu:.1f} CPU-s "
        f"({1000 * cpu / alone:.1f} CPU-ms a picture), peak {peaks[0]:.0f} MiB at a tenth, "
        f"{peaks[-1]:.0f} at the end",
        flush=True,
    )
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:

        def kill_one():
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

        start = time.perf_counter()
        found, peaks = digest_of(score_rows(places, client), n, alone, kill_one)
        seconds = time.perf_counter() - start
        of_workers = max(client.run(peak_mib).values())
    print(
        f"two workers, one killed on the way: {seconds:.1f} s, {n} rows, each once, "
        f"the first {alone} {'the same' if found == expected else 'OTHERS'}; peak of the client "
        f"{peaks[0]:.0f} MiB at a tenth, {peaks[-1]:.0f} at the end; of a worker {of_workers:.0f}"
    )


PARTS = {"shards": shards, "flat": flat, "bucket": bucket, "dask": dask}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--alone", type=int)
    arguments = parser.parse_args()
    PARTS["dask"] = functools.partial(dask, alone=arguments.alone or arguments.n)
    for part in arguments.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](folder, arguments.n)
            os.chdir("/")
