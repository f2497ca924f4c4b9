"""The state of an encoder, all of it numpy arrays. No PyTorch here: a scorer may do without."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa import __version__
from skiqa._network.graph import Graph
from skiqa._types import Arrays, Floats


@cache
def _installed_versions() -> dict[str, str]:
    names = ("timm", "torch", "numpy", "pillow", "scikit-learn")
    return {"skiqa": __version__} | {name: version(name) for name in names}


def current_versions() -> dict[str, str]:
    """Return the versions that decide what a saved state means."""
    return dict(_installed_versions())


def warn_of_versions(what: str, versions: Mapping[str, str], *, stacklevel: int) -> None:
    """Warn if others than the current versions were at work; `what` begins the warning."""
    now = current_versions()
    if others := {name: versions.get(name) for name in now if versions.get(name) != now[name]}:
        here = {name: now[name] for name in others}
        warnings.warn(
            f"{what} with {others} and is used with {here}. Its weights load strictly, but "
            "features may differ in their last digits.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def hash_array(h: hashlib._Hash, name: str, array: npt.NDArray[Any]) -> None:
    """Add an array to a hash: what it is called, its type and shape, and its values."""
    h.update(f"{name} {array.dtype.str} {array.shape}".encode())
    h.update(np.ascontiguousarray(array).data)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EncoderState:
    """All that a fitted encoder knows, as numpy arrays: it pickles small and on any device.

    Treated as immutable, its arrays included: whoever wants another state makes another object,
    with :func:`dataclasses.replace`. Two states are equal if they are one object; those that give
    the same features have the same `digest`.

    Parameters
    ----------
    backbone : str
        timm's name of the network.
    networks : sequence of dict
        One dictionary of arrays for each expert: the trained network first, then (``keep_start``)
        the one it started from.
    mean, std : sequence of 3 floats
        Input normalisation, in units of the [0, 1] pixel range.
    head : dict
        The objective's projector. Empty where the weights never had one.
    unit_norm : bool
        Whether the mean of the last map is divided by its L2 norm, as these weights were trained.
    center, scale : ndarray of shape (n_experts, n_reference_scales, n_stage_features) or None
        Standardising constants of the stage features, at the scales `reference_scales`.
    reference_scales : sequence of float in (0, 1]
        Where `center` and `scale` were taken.
    versions : dict
        The versions of skiqa and of the packages it rests on that made the state.
    card : dict
        What is known of the weights: data, licences, seed, command, measured scores.
    max_pixels : int or None
        Viewing size: what has more pixels is brought to that many before the network sees it. None:
        never.
    content : EncoderState or None
        The state of another network, never trained, whose features of the scene's content stand
        beside these.
    graphs : dict of str to Graph
        What an engine runs in PyTorch's place, for each pooling that it is known for.

    Attributes
    ----------
    digest : str
        A hash of everything that changes a feature of an image as the network sees it: of neither
        the head nor the viewing size.
    networks_digest : str
        A hash of what the networks alone make of an image, before it is standardised.
    """

    backbone: str
    networks: Sequence[Arrays]
    mean: Sequence[float]
    std: Sequence[float]
    head: Arrays = field(default_factory=dict)
    unit_norm: bool = True
    center: Floats | None = None
    scale: Floats | None = None
    reference_scales: Sequence[float] = (1.0, 0.5)
    versions: dict[str, str] = field(default_factory=current_versions)
    card: dict[str, Any] = field(default_factory=dict)
    max_pixels: int | None = None
    content: EncoderState | None = None
    graphs: Mapping[str, Graph] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # digests are of tuples of floats, whatever sequences of numbers a file or a caller gave
        for name, value in {
            "networks": tuple(self.networks),
            "mean": tuple(map(float, self.mean)),
            "std": tuple(map(float, self.std)),
            "reference_scales": tuple(self.reference_scales),
        }.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Raise ValueError if a field is of no use: states come from files as well."""
        kinds = {"backbone": str, "unit_norm": bool, "card": dict, "versions": dict}
        for name, kind in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name}={value!r} is no {kind.__name__}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(s > 0 for s in self.std):
            raise ValueError(f"mean={self.mean}, std={self.std}: three numbers each, std above 0")
        if self.max_pixels is not None and not self.max_pixels >= 1:
            raise ValueError(f"max_pixels={self.max_pixels}: a number of pixels, or None")
        if not all(scale > 0 for scale in self.reference_scales):
            raise ValueError(f"reference_scales={self.reference_scales}: numbers above 0")
        for name, constants in (("center", self.center), ("scale", self.scale)):
            rows = (len(self.networks), len(self.reference_scales))
            if constants is not None and (constants.ndim != 3 or constants.shape[:2] != rows):
                raise ValueError(f"{name} has shape {constants.shape}; expected {(*rows, 'd')}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # what was pickled before a field existed gets its default
        for known in fields(self):
            if known.default is not MISSING:
                state.setdefault(known.name, known.default)
            elif known.default_factory is not MISSING:
                state.setdefault(known.name, known.default_factory())
        self.__dict__.update(state)

    def parts(self) -> tuple[EncoderState, ...]:
        """Return this state and, if there is one, that of the content beside it."""
        return (self,) if self.content is None else (self, self.content)

    @property
    def digest(self) -> str:
        return self._digests[0]

    @property
    def networks_digest(self) -> str:
        return self._digests[1]

    def graphs_digest(self, pooling: str) -> str:
        """Return a hash of the graphs that a file brought for a pooling; "" if it brought none.

        They should follow from the networks, but a file may hold whatever it wants.
        """
        graphs = [part.graphs[pooling].digest for part in self.parts() if pooling in part.graphs]
        return " ".join(graphs)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        h = hashlib.sha256(repr((self.backbone, self.mean, self.std)).encode())
        for arrays in self.networks:
            h.update(b"network")
            for name in sorted(arrays):
                hash_array(h, name, arrays[name])
        alone = h.copy()
        for name, constants in (("center", self.center), ("scale", self.scale)):
            if constants is not None:
                hash_array(h, name, constants)
        h.update(repr(self.reference_scales).encode())
        if not self.unit_norm:
            h.update(b"not normed")
        if self.content is not None:
            h.update(b"content" + self.content.digest.encode())
            alone.update(b"content" + self.content.networks_digest.encode())
        return h.hexdigest(), alone.hexdigest()

    def __repr__(self) -> str:
        millions = sum(a.size for a in self.networks[0].values()) / 1e6
        experts = f", {len(self.networks)} experts" if len(self.networks) > 1 else ""
        if self.content is not None:
            experts += f", content of {self.content.backbone}"
        return f"EncoderState({self.backbone}, {millions:.1f}M values{experts}, {self.digest[:8]})"
