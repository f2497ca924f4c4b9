"""What tensors of open_clip's image towers are called in timm's networks of the same shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

TOWER = "visual."  # what stands before the names of an image tower

# open_clip's name behind "visual." -> timm's. The first line that fits a whole name holds.
_VISION_TRANSFORMER = {
    r"conv1\.(.+)": r"patch_embed.proj.\1",
    r"class_embedding": r"cls_token",
    r"positional_embedding": r"pos_embed",
    r"ln_pre\.(.+)": r"norm_pre.\1",
    r"ln_post\.(.+)": r"norm.\1",
    r"transformer\.resblocks\.(\d+)\.ln_(\d)\.(.+)": r"blocks.\1.norm\2.\3",
    r"transformer\.resblocks\.(\d+)\.ls_(\d)\.(.+)": r"blocks.\1.ls\2.\3",
    r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(.+)": r"blocks.\1.attn.qkv.\2",
    r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)": r"blocks.\1.attn.proj.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)": r"blocks.\1.mlp.fc1.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)": r"blocks.\1.mlp.fc2.\2",
}
_RESNET = {
    r"conv(\d)\.(.+)": r"stem.conv\1.conv.\2",
    r"bn(\d)\.(.+)": r"stem.conv\1.bn.\2",
    **{
        rf"layer{layer}\.(\d+)\.{theirs}\.(.+)": rf"stages.{layer - 1}.\1.{own}.\2"
        for layer in range(1, 5)
        for theirs, own in {
            "conv1": "conv1_1x1.conv",
            "bn1": "conv1_1x1.bn",
            "conv2": "conv2_kxk.conv",
            "bn2": "conv2_kxk.bn",
            "conv3": "conv3_1x1.conv",
            "bn3": "conv3_1x1.bn",
            "downsample\\.0": "shortcut.conv.conv",
            "downsample\\.1": "shortcut.conv.bn",
        }.items()
    },
    r"attnpool\.positional_embedding": r"head.pos_embed",
    r"attnpool\.([qkv])_proj\.(.+)": r"head.\1.\2",
}
_OF_TIMM = {r"trunk\.(.+)": r"\1"}  # open_clip has these towers from timm
# What leads from the tower into the space of the texts.
PROJECTION = {
    r"proj": "weight",  # to be turned round
    r"attnpool\.c_proj\.(.+)": r"\1",
    r"head\.proj\.(.+)": r"\1",
}


def table_of(visual: Collection[str]) -> Mapping[str, str]:
    """Return the table for a tower with tensors of these names, TOWER left off."""
    if any(key.startswith("trunk.") for key in visual):
        return _OF_TIMM
    return _RESNET if any(key.startswith("layer1.") for key in visual) else _VISION_TRANSFORMER


def renamed(key: str, table: Mapping[str, str]) -> str | None:
    """Return timm's name of a tensor; None if the table has none.

    Examples
    --------
    >>> from skiqa._network.open_clip_names import renamed, table_of
    >>> renamed("transformer.resblocks.3.attn.in_proj_bias", table_of(["proj"]))
    'blocks.3.attn.qkv.bias'
    """
    for pattern, name in table.items():
        if found := re.fullmatch(pattern, key):
            return found.expand(name)
    return None
