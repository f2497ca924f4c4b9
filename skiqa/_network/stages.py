"""A timm network as a list of stages."""

from contextlib import contextmanager

import timm
import torch
from torch import nn

_HEADS = ("conv_head", "bn2", "norm_head", "act2", "head_drop")


class Stages(nn.Module):
    """A timm network without its head, run stage by stage.

    Parameters
    ----------
    name : str
        timm's name of the architecture.

    Attributes
    ----------
    stem : nn.Module
        What runs before the first reported stage.
    stages : list of nn.Module or None
        The stages, each fed with the map before it. None for networks that cannot be cut so; these
        go through timm's ``forward_intermediates``.
    stride : int
        Pixels of the photo per cell of the last map; also the smallest side the network takes.
    mean, std : tuple of 3 floats
        The input normalisation that timm states for this network's weights.
    """

    def __init__(self, name):
        super().__init__()
        self.model = create(name)
        for head in _HEADS:
            if isinstance(getattr(self.model, "blocks", None), nn.Sequential) and hasattr(
                self.model, head
            ):
                setattr(self.model, head, nn.Identity())
        info = self.model.feature_info
        self.stride = int((info[-1] if isinstance(info, list) else info.info[-1])["reduction"])
        cfg = self.model.pretrained_cfg
        self.mean, self.std = tuple(cfg["mean"]), tuple(cfg["std"])

    def split(self):
        """Return (stem, stages), or (None, None) where the network is no chain of stages."""
        m = self.model
        if getattr(m, "output_fmt", "NCHW") != "NCHW":
            return None, None  # its stages pass (n, h, w, c) on; timm turns their maps round
        if all(hasattr(m, a) for a in ("conv_stem", "bn1")) and _is_chain(m, "blocks"):
            act = [m.act1] if hasattr(m, "act1") else []  # elsewhere bn1 holds the activation
            return [m.conv_stem, m.bn1, *act], [[block] for block in m.blocks]
        if all(hasattr(m, a) for a in ("conv1", "bn1", "act1", "maxpool", "layer4")):
            # timm reports the stem of a ResNet as its first feature map
            first = [[m.conv1, m.bn1, m.act1], [m.maxpool, m.layer1]]
            return [], [*first, [m.layer2], [m.layer3], [m.layer4]]
        if _is_chain(m, "stages") and isinstance(getattr(m, "stem", None), nn.Module):
            return [m.stem], [[stage] for stage in m.stages]
        return None, None

    def maps(self, x):
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

    def forward(self, x):
        """Return the last map, (n, c, h, w)."""
        *_, last = self.maps(x)
        return last


def _is_chain(model, name):
    return isinstance(getattr(model, name, None), nn.Sequential)


def create(name, **kwargs):
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
def seeded(seed):
    """Run a block under its own torch seed and give the global generator back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed CUDA as well
        yield
