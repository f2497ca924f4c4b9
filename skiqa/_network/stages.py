"""A timm network as a list of stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.layers import AttentionPool2d, RotAttentionPool2d
from torch import nn

AttentionPool = AttentionPool2d | RotAttentionPool2d  # behind the ResNets of CLIP
_HEADS = ("conv_head", "bn2", "norm_head", "act2", "head_drop")


class Stages(nn.Module):
    """A timm network without its head, run stage by stage.

    Parameters
    ----------
    name : str
        timm's name of the architecture.

    Attributes
    ----------
    model : nn.Module
        The network, as timm builds it.
    stride : int
        Pixels of the photo per cell of the last map; also the smallest side the network takes.
    mean, std : sequence of 3 floats
        The input normalisation that timm states for this network's weights.
    """

    model: Any  # timm's networks have no common interface that types could tell
    stride: int
    mean: Sequence[float]
    std: Sequence[float]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = create(name)
        if isinstance(getattr(self.model, "head", None), AttentionPool):
            self.model.head.pool_type = "token"
            _floor_pools(self.model)
        for head in _HEADS:
            if isinstance(getattr(self.model, "blocks", None), nn.Sequential) and hasattr(
                self.model, head
            ):
                setattr(self.model, head, nn.Identity())
        info = self.model.feature_info
        self.stride = int((info[-1] if isinstance(info, list) else info.info[-1])["reduction"])
        cfg = self.model.pretrained_cfg
        self.mean, self.std = tuple(cfg["mean"]), tuple(cfg["std"])

    def split(self) -> tuple[list[nn.Module], list[list[nn.Module]] | None]:
        """Cut the network into the layers before the first reported stage and the stages.

        Returns
        -------
        stem : list of nn.Module
            Layers, each fed with the map of the one before it; often none.
        stages : list of list of nn.Module, or None
            The layers of each stage. None where the network is no chain of stages: its maps are got
            by timm's ``forward_intermediates``.
        """
        m = self.model
        if getattr(m, "output_fmt", "NCHW") != "NCHW":
            return [], None  # its stages pass (n, h, w, c) on; timm turns their maps round
        if all(hasattr(m, a) for a in ("conv_stem", "bn1")) and _is_chain(m, "blocks"):
            act = [m.act1] if hasattr(m, "act1") else []  # elsewhere bn1 holds the activation
            return [m.conv_stem, m.bn1, *act], [[block] for block in m.blocks]
        if all(hasattr(m, a) for a in ("conv1", "bn1", "act1", "maxpool", "layer4")):
            # timm reports the stem of a ResNet as its first feature map
            first = [[m.conv1, m.bn1, m.act1], [m.maxpool, m.layer1]]
            return [], [*first, [m.layer2], [m.layer3], [m.layer4]]
        if _is_chain(m, "stages") and isinstance(getattr(m, "stem", None), nn.Module):
            return [m.stem], [[stage] for stage in m.stages]
        return [], None

    def maps(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the map of every stage: (n, c_s, h_s, w_s), finest first."""
        stem, stages = self.split()
        if stages is None:
            yield from self.model.forward_intermediates(x, intermediates_only=True)
            return
        for layer in stem:
            x = layer(x)
        for stage in stages:
            for layer in stage:
                x = layer(x)
            yield x

    def maps_and_class_token(
        self, x: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Return what `maps` yields, and a vision transformer's class token behind the last map.

        Returns
        -------
        maps : list of tensor (n, c_s, h_s, w_s)
        class_token : tensor (n, c), or None where the network has none
        """
        if getattr(self.model, "cls_token", None) is None or self.split()[1] is not None:
            return list(self.maps(x)), None
        how = {"intermediates_only": True, "return_prefix_tokens": True}
        maps, prefixes = zip(*self.model.forward_intermediates(x, **how), strict=True)
        return list(maps), prefixes[-1][:, 0]

    def embedding(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the network's own pooling makes of its last map: (n, d).

        The class token of a CLIP-like transformer, or what its pooling by attention gives; else the
        mean.
        """
        found: torch.Tensor = self.model.forward_features(x)
        found = self.model.forward_head(found, pre_logits=True)
        return found.mean(dim=(2, 3)) if found.ndim == 4 else found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last map, (n, c, h, w)."""
        *_, last = self.maps(x)
        return last


def _floor_pools(model: nn.Module) -> None:
    """Let both branches of a block drop an odd row, as CLIP's own ResNets do; timm's shortcut keeps
    it, and does not fit the other branch.
    """
    for module in model.modules():
        if isinstance(module, nn.AvgPool2d):
            module.ceil_mode = False


def _is_chain(model: nn.Module, name: str) -> bool:
    return isinstance(getattr(model, name, None), nn.Sequential)


def create(name: str, **kwargs: Any) -> Any:
    """Build a timm network without a classifier, for images of any size."""
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        hint = f" Did you mean one of {close}?" if close else " See timm.list_models()."
        raise ValueError(f"backbone={name!r} is no network of timm {timm.__version__}.{hint}")
    try:
        model = timm.create_model(name, num_classes=0, global_pool="", **kwargs)
    except AssertionError:  # some networks cannot drop the pooling, which is never run here
        model = timm.create_model(name, num_classes=0, **kwargs)
    except RuntimeError as error:
        if "pretrained tag" not in str(error):
            raise
        known = timm.list_pretrained(name.split(".")[0])[:5]
        raise ValueError(f"backbone={name!r}: {error} Did you mean one of {known}?") from error
    if hasattr(model, "patch_embed"):
        try:
            model = timm.create_model(
                name, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True, **kwargs
            )
        except TypeError as error:
            raise ValueError(
                f"backbone={name!r} takes images of one size only, and skiqa never resizes a photo "
                "behind your back. Use a convolutional network or a plain vision transformer "
                "(vit_*, deit*)."
            ) from error
    return model


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under its own torch seed and give the global generator back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA as well
        yield
