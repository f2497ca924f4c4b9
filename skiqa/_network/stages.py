"""A timm network as a list of stages, and its state as a dictionary of numpy arrays."""

import copy
import hashlib
import threading
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import timm
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

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
        self.model = _create(name)
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


def _create(name, **kwargs):
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


def to_arrays(module):
    """Return the parameters and buffers of a module as numpy arrays, float32 where floating."""
    arrays = {}
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # counts steps for nobody: every BatchNorm here has a fixed momentum
        value = value.detach().cpu()
        arrays[name] = (value.float() if value.is_floating_point() else value).numpy().copy()
    return arrays


def array_shapes(backbone):
    """Return {name: shape} of the arrays that a network consists of, without building it."""
    with torch.device("meta"):
        tensors = Stages(backbone).model.state_dict()
    return {
        name: tuple(value.shape)
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def load_arrays(module, arrays, what="the weights"):
    """Copy numpy arrays into a module, every name and shape strictly equal."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - arrays.keys()), sorted(arrays.keys() - own.keys())
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    wrong = [k for k in own.keys() & arrays.keys() if tuple(own[k].shape) != arrays[k].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"{what} do not fit the network: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} not expected {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}."
        )
    # np.array copies: the arrays may be read-only views of a file (joblib's mmap_mode="r")
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
    module.load_state_dict(tensors, strict=False)


class EncoderState:
    """All that a fitted encoder knows, as numpy arrays: it pickles small and on any device.

    Treated as immutable: whoever wants another state makes another object.

    Parameters
    ----------
    backbone : str
        timm's name of the network.
    networks : tuple of dict
        One dictionary of arrays for each expert: the trained network first, then (``keep_start``)
        the one it started from.
    mean, std : tuple of 3 floats
        Input normalisation, in units of the [0, 1] pixel range.
    head : dict
        The objective's projector. Empty where the weights never had one.
    unit_norm : bool
        Whether the mean of the last map is divided by its L2 norm, as these weights were trained.
    center, scale : ndarray of shape (n_experts, n_reference_scales, n_stage_features) or None
        Standardising constants of the stage features, at the scales `reference_scales`.
    versions : dict
        The versions of skiqa, timm and torch that made the state.
    card : dict
        What is known of the weights: data, licences, seed, command, measured scores.
    content : EncoderState or None
        Another network's state, never trained, whose features stand beside these.
    """

    content = None  # what pickles of skiqa 0.1.0 do not hold

    def __init__(self, *, backbone, networks, mean, std, head=None, unit_norm=True, center=None,
                 scale=None, reference_scales=(1.0, 0.5), versions=None, card=None,
                 content=None):  # fmt: skip
        self.backbone = backbone
        self.networks = tuple(networks)
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.head = head or {}
        self.unit_norm = unit_norm
        self.center, self.scale = center, scale
        self.reference_scales = tuple(reference_scales)
        self.versions = versions or current_versions()
        self.card = card or {}
        self.content = content
        self.digest = self._digest()

    def replace(self, **fields):
        """Return a state that differs from this one in some fields."""
        state = copy.copy(self)
        vars(state).update(fields)
        state.digest = state._digest()
        return state

    def parts(self):
        """Return this state and, if there is one, that of the content beside it."""
        return (self,) if self.content is None else (self, self.content)

    def _digest(self):
        """Hash everything that changes a feature; names and values of the head do not."""
        h = hashlib.sha256(repr((self.backbone, self.mean, self.std)).encode())
        for arrays in self.networks:
            h.update(b"network")
            for name in sorted(arrays):
                h.update(name.encode() + arrays[name].tobytes())
        for constants in (self.center, self.scale):
            h.update(b"none" if constants is None else constants.tobytes())
        h.update(repr(self.reference_scales).encode())
        if not self.unit_norm:
            h.update(b"not normed")
        if self.content is not None:
            h.update(b"content" + self.content.digest.encode())
        return h.hexdigest()

    def __repr__(self):
        millions = sum(a.size for a in self.networks[0].values()) / 1e6
        experts = f", {len(self.networks)} experts" if len(self.networks) > 1 else ""
        if self.content is not None:
            experts += f", content of {self.content.backbone}"
        return f"EncoderState({self.backbone}, {millions:.1f}M values{experts}, {self.digest[:8]})"


def current_versions():
    """Return the versions that decide what a saved state means."""
    from skiqa import __version__

    return {"skiqa": __version__, "timm": timm.__version__, "torch": str(torch.__version__)}


def random_state_of(backbone, seed):
    """Return the state of a network with random weights drawn from `seed`."""
    with seeded(seed):
        network = Stages(backbone)
    return EncoderState(
        backbone=backbone, networks=[to_arrays(network.model)], mean=network.mean, std=network.std
    )


def timm_state(backbone):
    """Return the state of a network with timm's own pretrained weights (may download them)."""
    with seeded(0):
        network = Stages(backbone)
        try:
            pretrained = _create(backbone, pretrained=True)
        except Exception as error:
            raise ValueError(
                f"weights='timm' could not get the weights of {backbone!r} ({error}). They are "
                "downloaded from a hub: without a network, use weights='default' or a file."
            ) from error
    arrays = {k: v for k, v in to_arrays(pretrained).items() if k in network.model.state_dict()}
    cfg = pretrained.pretrained_cfg
    return EncoderState(
        backbone=backbone, networks=[arrays], mean=cfg["mean"], std=cfg["std"]
    )  # fmt: skip


def build(state, expert=0):
    """Return the network of a state, on the CPU, in float32 and training mode."""
    with seeded(0):
        network = Stages(state.backbone)
    load_arrays(network.model, state.networks[expert], f"the weights of {state.backbone}")
    network.mean, network.std = state.mean, state.std
    return network


def fold_batchnorm(network):
    """Fold every BatchNorm that follows a convolution into it: a third of the time on a CPU.

    Features move by rounding only, about 1e-6 of their size.

    Parameters
    ----------
    network : Stages
        In evaluation mode, on the CPU. Left as it is.

    Returns
    -------
    Stages
        A folded copy; `network` itself if folding would change what it computes (a convolution
        whose output is used a second time, as in pre-activation networks).
    """

    def fold(network, pairs):
        for conv, norm in pairs:
            conv.weight, conv.bias = _fused(conv, norm)
        # timm's BatchNorm layers hold the activation that follows them: that stays
        folded = {norm: getattr(norm, "act", nn.Identity()) for _, norm in pairs}
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if child in folded:
                    setattr(parent, name, folded[child])

    return _rewritten(network, fold)


def absorb_batchnorm(network):
    """Move every BatchNorm's scale and statistics into the convolution in front of it.

    As `fold_batchnorm`, but the layers stay, with variance and scale one and mean zero: the arrays
    of the result are again a state of the same network. One rate then moves all weights by as much
    of what they do, which small scales would hide.
    """

    @torch.no_grad()
    def absorb(network, pairs):
        for conv, norm in pairs:
            weight, bias = _fused(conv, norm)
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.zero_()
            norm.bias.copy_(bias)
            norm.weight.fill_(1.0)
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)

    return _rewritten(network, absorb)


def _fused(conv, norm):
    """Return weight and bias of the convolution that does what both do in evaluation."""
    return fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
        norm.weight, norm.bias,
    )  # fmt: skip


def _rewritten(network, rewrite):
    """Return a copy with pairs of convolution and BatchNorm rewritten, if it computes the same.

    Which one follows which is seen by running the network once, whatever the layers are called.
    """
    original, network = network, copy.deepcopy(network)
    produced, pairs, handles = {}, [], []

    def note_output(conv, inputs, output):
        produced[id(output)] = (conv, output)  # the output is kept, so that its id stays its own

    def note_input(norm, inputs):
        if (found := produced.pop(id(inputs[0]), None)) is not None:
            pairs.append((found[0], norm))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(note_output))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(note_input))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 2 * network.stride, 2 * network.stride, generator=generator)
    with torch.inference_mode():
        before = list(network.maps(x))
    for handle in handles:
        handle.remove()
    rewrite(network, pairs)
    with torch.inference_mode():
        same = all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
            for a, b in zip(before, network.maps(x), strict=True)
        )
    return network if same else original


# Live networks: two entries, because a process rarely scores with more than two models and each
# holds the whole network. Never on the estimator, which must pickle without torch.
_LIVE, _LIVE_SIZE, _LOCK = OrderedDict(), 2, threading.Lock()


def live_networks(state, device, dtype):
    """Return the networks of a state in evaluation mode on a device, from the cache if there."""
    key = (state.digest, str(device), dtype)
    with _LOCK:
        if key in _LIVE:
            _LIVE.move_to_end(key)
            return _LIVE[key]
        networks = []
        for part in state.parts():
            for expert in range(len(part.networks)):
                network = fold_batchnorm(build(part, expert).eval().requires_grad_(False))
                networks.append(network.to(device, dtype, memory_format=torch.channels_last))
        _LIVE[key] = networks
        while len(_LIVE) > _LIVE_SIZE:
            _LIVE.popitem(last=False)
        return networks


def normalise(pixels, mean, std):
    """Map [0, 1] pixels (n, 3, h, w) to the network's input: (pixels - mean) / std."""
    mean = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    return (pixels - mean) / std


def to_input(images, network, device, dtype):
    """Turn uint8 images of one size, (n, h, w, 3), into the network's input (n, 3, h, w)."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    x = normalise(x.float().div_(255.0), network.mean, network.std)
    return x.to(dtype, memory_format=torch.channels_last)
