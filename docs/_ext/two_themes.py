"""Pictures of the examples, drawn twice: on white, and on nothing for the dark theme."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

# Attributes that hold a color, for each kind of thing in a figure.
_COLORS = {
    Text: ("color",),
    Line2D: ("color", "markerfacecolor", "markeredgecolor"),
    Patch: ("facecolor", "edgecolor"),
    Collection: ("facecolor", "edgecolor"),
}


def darken(figure):
    """Turn what is grey in a figure round, black to white; colors and photos stay."""
    for kind, names in _COLORS.items():
        for artist in figure.findobj(kind):
            for name in names:
                _turn(artist, name)
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)


def _turn(artist, name):
    value = getattr(artist, f"get_{name}")()
    if isinstance(value, str) and value == "none":
        return
    colors = to_rgba_array(value)
    grey = np.ptp(colors[:, :3], axis=1) < 0.02
    if not grey.any():
        return
    colors[grey, :3] = 0.92 - 0.85 * colors[grey, :3]
    getattr(artist, f"set_{name}")(colors if isinstance(artist, Collection) else colors[0])


def _described(figure, source):
    """Return words for those who cannot see a figure: its titles, or what the example is called."""
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    words = Path(source).stem.lstrip("0123456789_").replace("_", " ")
    return "; ".join([words, *filter(None, titles)][:7])


def scrape(block, block_vars, gallery_conf):
    """Save the open figures of a block for both themes; return the page's source for them."""
    text = ""
    for number in plt.get_fignums():
        figure = plt.figure(number)
        words = _described(figure, block_vars["src_file"])
        light = Path(next(block_vars["image_path_iterator"]))
        dark = light.with_name(light.name.replace("sphx_glr_", "dark_"))
        figure.savefig(light, dpi=110, bbox_inches="tight", facecolor="white")
        darken(figure)
        figure.savefig(dark, dpi=110, bbox_inches="tight", transparent=True)
        for path, theme in ((light, "only-light"), (dark, "only-dark")):
            place = path.relative_to(gallery_conf["src_dir"]).as_posix()
            text += f".. image:: /{place}\n   :alt: {words}\n"
            text += f"   :class: sphx-glr-single-img {theme}\n\n"
    plt.close("all")
    return text
