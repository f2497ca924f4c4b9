"""BatchNorm folded into the convolution before it, absorbed by it, or held still."""

import copy
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights


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


@contextmanager
def statistics_held(network):
    """Let BatchNorm normalise as it does, but leave its running statistics where they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
