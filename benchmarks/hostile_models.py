"""Hostile model files, and what `skiqa.persistence.load` does with them.

    OMP_NUM_THREADS=1 python benchmarks/hostile.py --models

.skiqa and .skops files hurt as pictures are; and files that say of themselves that they are whole,
with other headers, schemas, arrays and graphs. Each is loaded, and scores two photos if it loads.
What may come out is scores, or a ValueError, which names the file if loading raises it. Anything
else is listed, as are files that end the process, take over 5 s or 2 GiB.
"""

import copy
import faulthandler
import json
import resource
import sys
import time
import warnings
import zipfile
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from hostile import HARM, LARGE, SLOW, hurt, watched
from sklearn.datasets import load_sample_images

TINY = "test_resnet.r160_in1k"  # timm's smallest chain of stages
ODD = (None, True, "", "x" * 999, -1, 0, 0.5, 1e308, 10**30, 2**31, [], {}, [[]], [-1], ["a", 1])


def good_models(folder):
    """Write a small scorer in both kinds of files; return their paths."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    from skiqa import ContrastiveQualityEncoder
    from skiqa._network.build import random_state_of
    from skiqa.persistence import save

    encoder = ContrastiveQualityEncoder().with_state(random_state_of(TINY, 0))
    photos = [image[:200, :300] for image in load_sample_images().images]
    scorer = make_pipeline(encoder, Ridge().fit(encoder.transform(photos), [1, 2]))
    for suffix in ("skiqa", "skops"):
        save(scorer, folder / f"good.{suffix}")
    return folder / "good.skiqa", folder / "good.skops"


def edited(value, rng):
    """Return a JSON value with some of what it holds replaced, removed, doubled or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 5))):
        within = value
        while True:
            keys = list(within) if isinstance(within, dict) else range(len(within))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(within[key], dict | list) and within[key] and rng.random() < 0.85:
                within = within[key]
                continue
            match rng.randrange(6):
                case 0:
                    del within[key]
                case 1:
                    within[key] = copy.deepcopy(within[rng.choice(keys)])
                case 2:
                    for _ in range(rng.choice((1, 30, 90))):
                        within[key] = [within[key]]
                case _:
                    within[key] = copy.deepcopy(rng.choice(ODD))
            break
    return value


def other_arrays(tensors, rng):
    """Return named arrays, one of them of another shape, type or value, or gone."""
    name = rng.choice(sorted(tensors))
    array = tensors[name]
    match rng.randrange(7):
        case 0:
            return {key: value for key, value in tensors.items() if key != name}
        case 1:
            array = array.reshape(-1)
        case 2:
            array = array[: len(array) // 2]
        case 3:
            array = array.astype(rng.choice(("f8", "i8", "u1", "?", "f2")))
        case 4:
            floats = array.dtype.kind == "f"
            array = np.full_like(array, rng.choice((np.inf, np.nan, 3e38)) if floats else 255)
        case 5:
            return tensors | {name: tensors[rng.choice(sorted(tensors))]}
        case 6:
            array = np.zeros((*array.shape, 0), array.dtype)
    return tensors | {name: array}


def other_graph(structure, rng):
    """Return an ONNX graph with other numbers, inputs, operators or order of nodes."""
    import onnx

    model = onnx.load_model_from_string(structure)
    nodes = model.graph.node
    for _ in range(rng.choice((1, 1, 3))):
        node, other = rng.choice(nodes), rng.choice(nodes)
        numbers = [a for a in node.attribute if a.ints or a.type == a.INT]
        match rng.randrange(6):
            case 0:
                node.op_type = other.op_type
            case 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice((*other.output, "", "none"))
            case 2:
                nodes.remove(node)
            case 3:
                constants = [n for n in nodes for a in n.attribute if a.name == "value"]
                odd_constant(rng.choice(constants), rng)
            case _ if numbers:
                attribute = rng.choice(numbers)
                odd = rng.choice((-1, 0, 1, 7, 2**20, 2**40, -(2**63)))
                if attribute.ints:
                    attribute.ints[rng.randrange(len(attribute.ints))] = odd
                else:
                    attribute.i = odd
    return model.SerializeToString()


def odd_constant(node, rng):
    """Change a number of a constant of a graph."""
    import onnx

    tensor = node.attribute[0].t
    values = np.array(onnx.numpy_helper.to_array(tensor))
    if values.size:
        values.flat[rng.randrange(values.size)] = rng.choice((-1, 0, 3, 100, 2**20, 2**30))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def write_models(folder, n, rng):
    """Write hostile files; return their paths, by kind."""
    from skiqa._network.weight_files import read_file, write_file

    skiqa, skops = good_models(folder)
    tensors, header = read_file(skiqa)
    graph = next(name for name in tensors if ".graph." in name)
    structure = zlib.decompress(tensors[graph].tobytes())
    with zipfile.ZipFile(skops) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    whole = [skiqa.read_bytes(), skops.read_bytes()]

    def write_graph(path, data, times=1):
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(data) for _ in range(times)) + packer.flush()
        write_file(path, tensors | {graph: np.frombuffer(packed, np.uint8)}, header)

    def write_schema(path, text):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, text if name == "schema.json" else data)

    ways = {
        "skiqa, bytes": lambda p: p.write_bytes(hurt(whole[0], rng.choice(HARM), rng, whole)),
        "skops, bytes": lambda p: p.write_bytes(hurt(whole[1], rng.choice(HARM), rng, whole)),
        "skiqa, header": lambda p: write_file(p, tensors, edited(header, rng)),
        "skiqa, arrays": lambda p: write_file(p, other_arrays(tensors, rng), header),
        "skiqa, graph": lambda p: write_graph(p, other_graph(structure, rng)),
        "skops, schema": lambda p: write_schema(p, json.dumps(edited(schema, rng))),
    }
    made = {}
    for i in range(n):
        kind = list(ways)[i % len(ways)]
        path = folder / f"{i:05d}.{kind[:5]}"
        ways[kind](path)
        made[str(path)] = kind
    deep = "[" * 100_000 + "]" * 100_000
    write_schema(folder / "deep.skops", deep)
    write_graph(folder / "bomb.skiqa", bytes(2**20), times=3 * 2**10)
    write_deep(folder / "deep.skiqa", whole[0], deep)
    return made | {str(folder / name): name for name in ("deep.skops", "bomb.skiqa", "deep.skiqa")}


def write_deep(path, data, text):
    """Write a file of skiqa whose header is a text."""
    length = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + length])
    about["__metadata__"]["skiqa"] = text
    about = json.dumps(about).encode()
    path.write_bytes(len(about).to_bytes(8, "little") + about + data[8 + length :])


def load_all(paths):
    """Load files, in a child; print a line of JSON for each."""
    from skiqa._network.live_engines import CACHE
    from skiqa.persistence import load

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, resource.RLIM_INFINITY))  # for the machine
    images = load_sample_images().images
    photos = [image[:size, :300] for size, image in zip((200, 64), images, strict=True)]
    load(Path(paths[0]).with_name("good.skops")).predict(photos)  # imports take their time
    for path in paths:
        CACHE.clear()  # weights that are alike share an engine
        faulthandler.dump_traceback_later(30, exit=True)
        start, outcome = time.monotonic(), "loads"
        try:
            model = load(path)
            outcome = "predicting"
            (model.predict if hasattr(model, "predict") else model.transform)(photos)
            outcome = "scores"
        except ValueError as error:
            named = outcome == "predicting" or Path(path).name in str(error)
            outcome = f"ValueError, {outcome}" if named else f"unnamed: {error}"
        except Exception as error:
            outcome = f"{outcome}: {error!r}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([path, outcome, time.monotonic() - start, peak]), flush=True)


def models(folder, args, rng):
    made = write_models(folder, args.n or 2400, rng)
    counts, bad, left, slowest, peak = defaultdict(Counter), [], list(made), 0, 0
    expected = ("scores", "ValueError, loads", "ValueError, predicting")
    list_path = folder / "list.json"
    while left:
        list_path.write_text(json.dumps(left))
        status, lines, errors, _ = watched((sys.executable, __file__, str(list_path)))
        for line, _ in lines:
            path, outcome, seconds, kib = json.loads(line)
            counts[made[path]][outcome if outcome in expected else "other"] += 1
            size = kib * (1 if sys.platform == "darwin" else 1024)
            if outcome not in expected or seconds > SLOW or peak < LARGE < size:
                bad.append(f"{path}: {outcome[:300]}, {seconds:.1f} s, {size / 2**20:.0f} MiB")
            slowest, peak = max(slowest, seconds), max(peak, size)
        left = left[len(lines) :]
        if left:
            bad.append(f"{left[0]}: the process ended with {status}: {errors[-2000:]}")
            counts[made[left.pop(0)]]["process ended"] += 1
    columns = (*expected, "other", "process ended")
    print(f"| kind | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for kind, count in counts.items():
        print(f"| {kind} | {' | '.join(str(count[column]) for column in columns)} |")
    print(f"{len(made)} files; slowest {slowest:.2f} s, peak {peak / 2**20:.0f} MiB")
    print("\n".join(bad))
    return not bad


if __name__ == "__main__":  # as a child of itself
    load_all(json.loads(Path(sys.argv[1]).read_text()))
