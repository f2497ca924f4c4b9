"""A network with its pooling as an ONNX graph: from a photo's pixels to its pooled features."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

from skiqa._fork import ForkSafeLock
from skiqa._network.engine import Engine
from skiqa._network.graph import PREFIX, Graph
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.shapes import pooled_width
from skiqa._network.stages import Stages, seeded
from skiqa._network.state import EncoderState
from skiqa._types import Pixels

TOLERANCE = 1e-5  # largest difference to PyTorch's features, relative to the largest of them
_LOGGER = logging.getLogger("skiqa")

OPSET = 18  # the first whose Resize averages over what it removes

# The exporter keeps its settings in globals, and warnings are caught for the whole process.
_LOCK = ForkSafeLock()


class PooledNetwork(nn.Module):
    """What one network makes of the pixels of one photo.

    Parameters
    ----------
    network : Stages
        In evaluation mode, on the CPU, in float32. Left as it is.
    pooling : {"stages", "avg"}
        How maps become a vector.
    """

    center: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, network: Stages, pooling: str) -> None:
        super().__init__()
        self.network, self.pooling = _of_any_size(network), pooling
        self.register_buffer("center", torch.tensor(network.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(network.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pool uint8 pixels (1, h, w, 3): (1, d) float32."""
        x = pixels.permute(0, 3, 1, 2).float() / 255.0
        return _POOLINGS[self.pooling](self.network.maps((x - self.center) / self.deviation))


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(3).mean(2)  # row by row: one long sum would lose digits in ONNX Runtime


def _stage_statistics(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    pooled = []
    for x in maps:
        mean = _mean(x)
        apart = x - mean[:, :, None, None]
        pooled += [mean, _mean(apart * apart).sqrt()]
    return torch.cat(pooled, dim=1)


def _last_average(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    *_, last = maps
    return _mean(last)


# As skiqa._network.pooling has them, in words that ONNX Runtime computes as well as PyTorch.
_POOLINGS = {"stages": _stage_statistics, "avg": _last_average}


def traced_graph(state: EncoderState, pooling: str) -> Graph | None:
    """Return the graph of a state's networks, content apart; None if only PyTorch runs them well.

    Parameters
    ----------
    state : EncoderState
    pooling : {"stages", "avg"}
    """
    try:
        graph = _graph_of(state.backbone, state.mean, state.std, pooling)
        apart = _largest_difference(state, pooling, graph)
    except Exception as error:  # of any kind: this network has never been run elsewhere
        _LOGGER.debug("%s runs in PyTorch: %r", state.backbone, error)
        return None
    if not apart <= TOLERANCE:
        _LOGGER.debug("%s runs in PyTorch: features differ by %.1g", state.backbone, apart)
        return None
    return graph


@lru_cache(maxsize=8)  # of one training come many states, of a search still more
def _graph_of(
    backbone: str, mean: tuple[float, ...], std: tuple[float, ...], pooling: str
) -> Graph:
    """Trace a network and leave its weights out of the file."""
    import onnx

    with seeded(0), torch.no_grad():
        network = Stages(backbone).eval()
        own = network.model.state_dict()
        for tensor in own.values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)  # no two alike: the exporter makes one of equal ones
    network.mean, network.std = mean, std
    side = network.stride
    example = torch.from_numpy(_noise(4 * side, 5 * side))
    traced = to_graph(PooledNetwork(network, pooling), "pixels", "row", example, fold=False)
    model = onnx.load_model_from_string(traced)
    shapes = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(PREFIX)
        if tensor.name.startswith(PREFIX) and name in own and own[name].is_floating_point():
            shapes[name] = tuple(own[name].shape)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")  # there is no such file
    structure, width = model.SerializeToString(), pooled_width(backbone, pooling)
    return Graph(structure=structure, shapes=shapes, stride=side, width=width)


def _largest_difference(state: EncoderState, pooling: str, graph: Graph) -> float:
    """Return the largest difference to PyTorch's features, relative to the largest of them."""
    device, dtype = torch.device("cpu"), torch.float32
    apart = []
    for network, arrays in zip(live_networks(state, device, dtype), state.networks, strict=False):
        engine = Engine(graph, arrays)
        for rows, columns in ((3, 7), (5, 2)):
            pixels = _noise(rows * graph.stride, columns * graph.stride)
            with torch.inference_mode():
                x = to_input(pixels, network, device, dtype)
                expected = POOLINGS[pooling](network.maps(x)).numpy()
            apart.append(float(np.abs(engine(pixels) - expected).max() / np.abs(expected).max()))
    return max(apart)


def _noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def to_graph(
    module: nn.Module, inputs: str, output: str, example: torch.Tensor, *, fold: bool = True
) -> bytes:
    """Trace a module of one photo and return the ONNX file of it.

    Parameters
    ----------
    module : nn.Module
        Takes uint8 pixels (1, h, w, 3).
    inputs, output : str
        Names in the graph.
    example : tensor
        Pixels of a photo, neither square nor of a size that the network knows.
    fold : bool, default=True
        Whether what depends on weights alone is computed now. Else every weight stands in the file
        under its own name, and ONNX Runtime computes it.

    Returns
    -------
    bytes

    Raises
    ------
    Exception
        Of any kind, if the network does something that ONNX has no word for.
    """
    file = io.BytesIO()
    how = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    # a trace cannot hold tensors of inference_mode, in which the caller may be
    with _LOCK, warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, and what branches a trace has taken
        torch._C._jit_set_onnx_log_enabled(False)  # it would print a failed graph on stdout
        with _BicubicAsResize():
            torch.onnx.export(
                module.eval(),
                (example,),
                cast("Any", file),
                dynamo=False,  # the other exporter needs a further package and ten times the time
                opset_version=OPSET,
                input_names=[inputs],
                output_names=[output],
                dynamic_axes={inputs: {1: "height", 2: "width"}},
                training=how,
                do_constant_folding=fold,
            )
    return file.getvalue()


class _Bicubic(torch.autograd.Function):
    """Maps (n, c, h, w) to another size by a bicubic filter that averages over what it removes."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Resize to `size`, two integers."""
        height, width = size.tolist()
        return interpolate(images, (height, width), mode="bicubic", antialias=True)

    @staticmethod
    def symbolic(g: Any, images: Any, size: Any) -> Any:
        """Return the node of a graph that does so."""
        nothing = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        channels = g.op("Slice", g.op("Shape", images), *(_constant(g, [i]) for i in (0, 2, 0)))
        return g.op(
            "Resize",
            images,
            nothing,
            nothing,
            g.op("Concat", channels, size, axis_i=0),
            antialias_i=1,
            coordinate_transformation_mode_s="half_pixel",
            cubic_coeff_a_f=-0.5,
            exclude_outside_i=1,
            mode_s="cubic",
        )


def _constant(g: Any, values: Sequence[int]) -> Any:
    return g.op("Constant", value_t=torch.tensor(values))


class _BicubicAsResize(TorchFunctionMode):
    """Lets timm's transformers be traced: they resize the embedding of positions so."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is interpolate and kwargs.get("antialias") and kwargs.get("mode") == "bicubic":
            size = torch.stack([torch.as_tensor(side) for side in kwargs["size"]])
            return _Bicubic.apply(args[0], size)
        return func(*args, **kwargs)


def _of_any_size(network: Stages) -> Stages:
    """Return a network whose trace holds for every size that is a multiple of its stride."""
    embedding = getattr(network.model, "patch_embed", None)
    if not getattr(embedding, "dynamic_img_pad", False):
        return network
    network = copy.deepcopy(network)
    network.model.patch_embed.dynamic_img_pad = False  # else it rounds sizes up outside the trace
    return network
