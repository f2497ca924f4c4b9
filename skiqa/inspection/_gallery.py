"""What degradations look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skiqa._inputs.containers import as_image_list
from skiqa._progress import progress_bar
from skiqa._types import Image, Pixels
from skiqa.degradations import Bank
from skiqa.inspection._common import (
    LEVELS,
    checked_operators,
    degrade_at_levels,
    figure_of,
    pyplot,
    scale_down_to,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


class DegradationGalleryDisplay:
    """One photo under many degradations: a row for each operator, a column for each level.

    Made by :meth:`from_photo`.

    Parameters
    ----------
    photo : uint8 array of shape (h, w, 3)
        The photo as it was.
    images : uint8 array of shape (n_operators, n_levels, h, w, 3)
        The photo degraded.
    operators : sequence of str
        Names of the operators.
    levels : sequence of int
        Levels, each in 1..5.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the grid, after :meth:`plot`.
    im_ : matplotlib AxesImage
        All pictures, as one.
    figure_ : matplotlib Figure
        Its figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.inspection import DegradationGalleryDisplay
    >>> china = load_sample_images().images[0]
    >>> display = DegradationGalleryDisplay.from_photo(
    ...     china, operators=("gaussian_blur", "jpeg"), max_side=64
    ... )
    >>> display.images.shape
    (2, 5, 42, 64, 3)
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    im_: AxesImage
    figure_: Figure

    def __init__(
        self, *, photo: Pixels, images: Pixels, operators: Sequence[str], levels: Sequence[int]
    ) -> None:
        self.photo = photo
        self.images = images
        self.operators = operators
        self.levels = levels

    @classmethod
    def from_photo(
        cls,
        photo: Image,
        *,
        operators: str | Bank | Sequence[str] = "all",
        levels: Sequence[int] = LEVELS,
        seed: int = 0,
        max_side: int | None = 256,
        verbose: int = 0,
        ax: Axes | None = None,
    ) -> DegradationGalleryDisplay:
        """Degrade one photo, and plot the grid.

        Parameters
        ----------
        photo : image
            A path, bytes, PIL image, array or tensor: anything that an encoder takes as one image.
        operators : str, Bank, or sequence of str, default="all"
            A bank ("all": every registered operator, your own included), or names of operators.
        levels : sequence of int, default=(1, 2, 3, 4, 5)
            Columns, beside that of the photo as it is.
        seed : int, default=0
            Seed of random operators.
        max_side : int or None, default=256
            A photo whose longer side is above is scaled down first. None: it stays as it is;
            memory is that of all pictures.
        verbose : int, default=0
            Above 0: a progress bar on standard error.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        DegradationGalleryDisplay
        """
        bank, levels = checked_operators(operators, levels)
        image = scale_down_to(as_image_list([photo]).load(0), max_side)
        images = np.empty((len(bank), len(levels), *image.shape), np.uint8)
        bar = progress_bar("degrading", len(bank), enabled=verbose > 0, unit="operators")
        with bar as advance:
            for k, operator in enumerate(bank):
                images[k] = degrade_at_levels(image, operator, levels, seed)
                advance()
        names = tuple(operator.name for operator in bank)
        return cls(photo=image, images=images, operators=names, levels=levels).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> DegradationGalleryDisplay:
        """Plot the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure of a size that fits.

        Returns
        -------
        DegradationGalleryDisplay
        """
        n_rows, n_columns, h, w = *self.images.shape[:2], *self.photo.shape[:2]
        n_columns += 1
        gap = max(1, round(0.02 * w))
        # white lines between the pictures
        mosaic = np.full((n_rows * (h + gap) - gap, n_columns * (w + gap) - gap, 3), 255, np.uint8)
        for i, row in enumerate(self.images):
            for j, picture in enumerate([self.photo, *row]):
                top, left = i * (h + gap), j * (w + gap)
                mosaic[top : top + h, left : left + w] = picture
        if ax is None:
            # inches: a picture, the names beside, the levels above and below
            cell, names, levels = 1.5, 0.2 + 0.08 * max(map(len, self.operators)), 0.3
            width, height = n_columns * cell, n_rows * cell * h / w
            size = names + width + 0.1, height + 2 * levels
            box = names / size[0], levels / size[1], width / size[0], height / size[1]
            figure: Figure = pyplot().figure(figsize=size)
            ax = figure.add_axes(box)
        self.im_ = ax.imshow(mosaic, interpolation="antialiased")
        ax.set_yticks(np.arange(n_rows) * (h + gap) + h / 2, self.operators)
        labels = ["pristine", *(f"level {level}" for level in self.levels)]
        ax.set_xticks(np.arange(n_columns) * (w + gap) + w / 2, labels)
        ax.tick_params(length=0, labeltop=True)  # above and below: the grid may be long
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self
