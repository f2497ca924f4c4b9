"""Speed, memory and the price of a search, each against a named baseline.

    python benchmarks/extract.py --part speed  [--photos DIR] [--n 64] [--precision bfloat16]
    python benchmarks/extract.py --part memory [--n 1000]
    python benchmarks/extract.py --part search [--photos DIR] [--n 200]

speed   images/s of ``transform`` against the one-image-at-a-time loop of the CONTRIQUE demo: the
        same weights, the same photos, rounds in turn in one process.
memory  peak memory of a fresh process for a folder of photos, one of 12 and one of 80 megapixels,
        with the bundled weights, against a plain loop over whole photos.
search  CPU seconds that GridSearchCV (20 penalties x 5 folds, ``cache_dir``) spends in the encoder,
        against one pass of feature extraction.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


# ---------------------------------------------------------------- photos


def make_photos(folder, n, width, height):
    """Write n photos of one size: random crops of scikit-learn's two, enlarged, JPEG 90."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng = np.random.default_rng(0)
    for i in range(n):
        source = sources[i % 2]
        side = int(rng.integers(200, 400))
        left, top = (int(rng.integers(room - side + 1)) for room in source.size)
        box = (left, top, left + side, top + side)
        photo = source.resize((width, height), Image.Resampling.BICUBIC, box=box)
        photo.save(Path(folder) / f"{i:05d}_{width}x{height}.jpg", quality=90)


def photos_of(folder):
    return sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)


def chosen_photos(args, scratch):
    """Return args.n photos of args.photos, or generated ones."""
    if args.photos is None:
        make_photos(scratch, args.n, 512, 512)
        return photos_of(scratch)
    paths = photos_of(args.photos)
    if not paths:
        sys.exit(f"no photos in {args.photos}")
    return paths[:: max(1, len(paths) // args.n)][: args.n]


# ---------------------------------------------------------------- speed


def random_weights(backbone):
    """Return weights of seed 0 for timm's network, as numpy arrays.

    BatchNorm is drawn as well: timm starts residual branches at zero, and a branch that adds zero
    would be compared with nothing.
    """
    import timm
    import torch

    torch.manual_seed(0)
    arrays = {}
    state = timm.create_model(backbone, num_classes=0, global_pool="").state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        one_dimensional = value.ndim == 1 and not name.endswith(("bias", "running_mean"))
        value = torch.empty_like(value).uniform_(0.5, 1.0) if one_dimensional else value
        arrays[name] = value.numpy()
    return arrays


def encoder_with(arrays, backbone, pooling, precision):
    """Return a fitted encoder with given weights, without input normalisation, as CONTRIQUE's."""
    from skiqa import ContrastiveQualityEncoder
    from skiqa._network.state import EncoderState

    encoder = ContrastiveQualityEncoder(
        backbone, weights=None, pooling=pooling, precision=precision, device="cpu"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random features: that is what is wanted here
        encoder.fit(["never opened"])
    state = {"backbone": backbone, "networks": [arrays], "mean": (0, 0, 0), "std": (1, 1, 1)}
    return encoder.with_state(EncoderState(**state))


def demo_loop(arrays, backbone, pooling):
    """Return the demo's function path -> features, in plain torch."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    if backbone in ("resnet18", "resnet34", "resnet50", "resnet101"):
        import torchvision

        network = getattr(torchvision.models, backbone)()
        trunk = torch.nn.Sequential(*list(network.children())[:-2])
    else:
        import timm

        network = timm.create_model(backbone, num_classes=0, global_pool="")
        trunk = network.forward_features
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    missing, extra = network.load_state_dict(tensors, strict=False)
    missing = [k for k in missing if not k.startswith("fc.") and "num_batches" not in k]
    if missing or extra:
        raise SystemExit(f"the weights do not fit the demo's network: {missing}, {extra}")
    network.eval()

    def features(path):
        # the demo leaves photos as the camera lay; turned ones could not be compared then
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        half = image.resize((image.size[0] // 2, image.size[1] // 2), Image.Resampling.BICUBIC)
        blocks = []
        for copy in (image, half):
            x = torch.from_numpy(np.array(copy)).permute(2, 0, 1).float().div(255).unsqueeze(0)
            with torch.no_grad():
                last = trunk(x)
                blocks.append(torch.nn.functional.normalize(last.mean(dim=(2, 3)), dim=1))
        return torch.cat(blocks, dim=1).numpy()[0]

    if pooling != "avg":
        raise SystemExit("the demo knows --pooling avg only")
    return features


def instructions():
    """Say which of the instructions that matter here this CPU has."""
    import torch

    wanted = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"]
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n")[0].split()
        have = [name for name in wanted if name in flags]
    except (OSError, IndexError):
        have = [torch.backends.cpu.get_cpu_capability()]
    return f"{', '.join(have)}; bfloat16 in hardware: {bool({'avx512_bf16', 'amx_bf16'} & {*have})}"


def speed(args):
    """Print images/s of both, the ratio, and how far their features lie apart."""
    import numpy as np
    import torch

    print(f"CPU with {instructions()}; {torch.get_num_threads()} torch threads")
    with tempfile.TemporaryDirectory() as scratch:
        paths = chosen_photos(args, scratch)
        arrays = random_weights(args.backbone)
        encoder = encoder_with(arrays, args.backbone, args.pooling, args.precision)
        demo = demo_loop(arrays, args.backbone, args.pooling)
        encoder.set_params(n_jobs=args.jobs)
        ours, theirs = encoder.transform(paths[:2]), np.stack([demo(p) for p in paths[:2]])
        seconds, cpu = {"demo": 0.0, "transform": 0.0}, {"demo": 0.0, "transform": 0.0}
        chunks = np.array_split(np.array(paths, dtype=object), args.rounds)
        difference = np.abs(ours - theirs).max()
        for r, chunk in enumerate(chunk for chunk in chunks if len(chunk)):
            for name in ("demo", "transform") if r % 2 else ("transform", "demo"):
                start, cpu_start = time.perf_counter(), time.process_time()
                if name == "demo":
                    theirs = np.stack([demo(path) for path in chunk])
                else:
                    ours = encoder.transform(list(chunk))
                seconds[name] += time.perf_counter() - start
                cpu[name] += time.process_time() - cpu_start
            difference = max(difference, np.abs(ours - theirs).max())
    for name, total in seconds.items():
        print(
            f"{name:10} {len(paths) / total:8.2f} images/s, {cpu[name] / len(paths):.3f} CPU s each"
        )
    ratio, cpu_ratio = (spent["demo"] / spent["transform"] for spent in (seconds, cpu))
    print(
        f"transform / demo loop: {ratio:.2f}x in images/s, {cpu_ratio:.2f}x in CPU time "
        f"({args.backbone}, {args.precision})"
    )
    print(
        f"largest feature difference: {difference:.2e}, of values up to {np.abs(theirs).max():.2f}"
    )


# ---------------------------------------------------------------- memory


def peak_bytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def child(task, folder, pixels):
    """Do one task in this process and print its peak memory and time as JSON."""
    if task == "make":
        n, width, height = pixels
        make_photos(folder, n, width, height)
        return
    from skiqa import load_model

    model = load_model()
    paths = photos_of(folder)
    start = time.perf_counter()
    if task == "transform":
        model.predict(paths)
    else:  # the whole photo through the network as it is, photo by photo
        import numpy as np
        import torch
        from PIL import Image

        from skiqa._network.build import build
        from skiqa._network.live import to_input

        network = build(model[0].state_).eval()
        with torch.inference_mode():
            for path in paths:
                image = Image.open(path).convert("RGB")
                for copy in (image, image.resize((image.size[0] // 2, image.size[1] // 2))):
                    x = to_input(np.array(copy)[None], network, torch.device("cpu"), torch.float32)
                    [m.mean(dim=(2, 3)) for m in network.maps(x)]
    print(json.dumps({"peak": peak_bytes(), "seconds": time.perf_counter() - start}))


def in_child(task, folder, pixels=()):
    """Run `child` in a fresh process. This one loads nothing: its peak would be inherited."""
    command = [sys.executable, __file__, "--child", json.dumps([task, str(folder), list(pixels)])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return None
    return json.loads(done.stdout) if task != "make" else None


def memory(args):
    """Print the peak memory of each task, its limit, and the plain loop's."""
    tasks = [
        (f"folder of {args.n} photos 512 x 512", (args.n, 512, 512), 2, True),
        ("one photo of 12 megapixels", (1, 4000, 3000), 2, True),
        ("one photo of 80 megapixels", (1, 10000, 8000), 4, False),
    ]
    chosen = range(3) if args.task is None else [args.task - 1]
    for name, pixels, limit, plain in (tasks[i] for i in chosen):
        with tempfile.TemporaryDirectory() as folder:
            in_child("make", folder, pixels)
            ours = in_child("transform", folder)
            if ours is None:
                print(f"{name}: transform died, see above; if it says nothing, of memory")
                continue
            print(
                f"{name}: peak {ours['peak'] / 2**30:.2f} GiB (limit {limit}: "
                f"{ours['peak'] / 2**30 / limit:.2f}x) in {ours['seconds']:.1f} s"
            )
            if plain and not args.no_baseline:
                theirs = in_child("plain", folder)
                if theirs is None:
                    print("    plain loop over whole photos: died, most likely of memory")
                    continue
                print(
                    f"    plain loop over whole photos: {theirs['peak'] / 2**30:.2f} GiB in "
                    f"{theirs['seconds']:.1f} s; ours / plain {ours['peak'] / theirs['peak']:.2f}x"
                )


# ---------------------------------------------------------------- search


def search(args):
    """Print the encoder's CPU seconds in a search, and the regressor's, against one pass."""
    import numpy as np
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import make_pipeline

    from skiqa import ContrastiveQualityEncoder
    from skiqa.metrics import srocc_scorer

    spent = {"encoder": 0.0, "regressor": 0.0}

    def timed(who, method):
        def wrapper(*arguments, **named):
            start = time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                spent[who] += time.process_time() - start

        return wrapper

    class TimedEncoder(ContrastiveQualityEncoder):
        fit = timed("encoder", ContrastiveQualityEncoder.fit)
        transform = timed("encoder", ContrastiveQualityEncoder.transform)

    class TimedRidge(Ridge):
        fit = timed("regressor", Ridge.fit)
        predict = timed("regressor", Ridge.predict)

    with tempfile.TemporaryDirectory() as scratch:
        paths = chosen_photos(args, scratch)
        mos = np.random.default_rng(0).random(len(paths))  # only the time is looked at
        ContrastiveQualityEncoder().fit(paths).transform(paths[:2])
        start = time.process_time()
        ContrastiveQualityEncoder().fit(paths).transform(paths)
        one_pass = time.process_time() - start
        model = make_pipeline(TimedEncoder(cache_dir=Path(scratch) / "cache"), TimedRidge())
        alphas = {"timedridge__alpha": np.logspace(-4, 2, 20)}
        start = time.process_time()
        GridSearchCV(model, alphas, scoring=srocc_scorer, cv=KFold(5)).fit(paths, mos)
        total = time.process_time() - start
    print(f"one pass over {len(paths)} photos: {one_pass:.2f} CPU seconds")
    print(f"20 penalties x 5 folds and the refit: {total:.2f}")
    for who, seconds in spent.items():
        print(f"    {who}: {seconds:.2f}, {seconds / one_pass:.2f}x one pass")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["speed", "memory", "search"], help="default: all three")
    parser.add_argument("--photos", help="folder of photos; default: generated, 512 x 512")
    parser.add_argument("--n", type=int, help="photos (64, 1000 and 200)")
    parser.add_argument("--backbone", default="resnet50", help="speed: timm's name")
    parser.add_argument("--pooling", default="avg", choices=["avg"], help="speed: as in the demo")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=8, help="speed: turns each of the two takes")
    parser.add_argument("--jobs", type=int, help="speed: decoding threads of transform")
    parser.add_argument("--task", type=int, choices=[1, 2, 3], help="memory: only this one")
    parser.add_argument("--no-baseline", action="store_true", help="memory: no plain loop")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*json.loads(args.child))
        return
    parts = {"memory": (memory, 1000), "speed": (speed, 64), "search": (search, 200)}
    n = args.n
    for name in [args.part] if args.part else parts:
        part, default = parts[name]
        args.n = n or default
        print(f"== {name}")
        part(args)


if __name__ == "__main__":
    main()
