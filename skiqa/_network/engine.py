"""ONNX Runtime in PyTorch's place: on a CPU half of the time for the same features."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from skiqa._network.graph import PREFIX, Graph
from skiqa._types import Arrays, Floats, Pixels

TILED_ABOVE = 4_000_000  # pixels; up to here a photo runs whole

# Memory is kept from photo to photo, which halves the time; that of a larger one is given back.
KEPT_PIXELS = 1_000_000


class Engine:
    """A network and its pooling, run by ONNX Runtime on one thread.

    May be called by several threads at once. No threads are started: it survives a fork.

    Parameters
    ----------
    graph : Graph
    arrays : dict
        The weights, float32.
    """

    def __init__(self, graph: Graph, arrays: Arrays) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # remembers something of every size of photo
        options.log_severity_level = 4  # errors are raised; it would print them as well
        values = [np.ascontiguousarray(arrays[name], np.float32) for name in graph.shapes]
        options.add_external_initializers(
            [PREFIX + name for name in graph.shapes],
            [runtime.OrtValue.ortvalue_from_numpy(value) for value in values],
        )
        providers = ["CPUExecutionProvider"]
        # else it would print what is wrong with a graph, and try again
        once = {"enable_fallback": False}
        self._session = runtime.InferenceSession(
            graph.structure, options, providers=providers, **once
        )
        self._giving_back = runtime.RunOptions()
        shrink = ("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._giving_back.add_run_config_entry(*shrink)
        self.stride = graph.stride

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32.

        Sides must be multiples of `stride`.
        """
        large = images.shape[1] * images.shape[2] > KEPT_PIXELS
        options = self._giving_back if large else None
        try:
            rows = [
                self._session.run(None, {"pixels": image[None]}, options)[0] for image in images
            ]
        except Exception as error:  # of ONNX Runtime's own kinds
            kind = MemoryError if "allocate" in str(error) else GraphError
            size = " x ".join(map(str, images.shape[2:0:-1]))
            raise kind(f"The network's graph does not run on {size} pixels: {error}") from error
        return np.concatenate(rows)


class GraphError(ValueError):
    """What a file holds as a network does not run."""


@cache
def _runtime() -> Any:
    """Return the module of ONNX Runtime, which is not to report anything to anyone."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # official builds for Windows have some
    return onnxruntime
