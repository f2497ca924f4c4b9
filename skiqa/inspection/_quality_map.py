"""Where a photo is good or bad, drawn over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skiqa._inputs.containers import as_image_list
from skiqa._types import Floats, Image, Pixels
from skiqa.inspection._common import figure_of, new_axes, scale_down_to
from skiqa.inspection._score_split import quality_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from sklearn.pipeline import Pipeline


class QualityMapDisplay:
    """A photo with its quality map over it.

    Made by :meth:`from_estimator`. Colors are score points: what each part gives to the score,
    times the number of parts, so that the score of the photo is their mean; it stands in the middle
    of the color bar. Blue parts raise the score, red ones lower it; what gives as much as the mean
    is transparent.

    Parameters
    ----------
    photo : uint8 array of shape (h, w, 3)
        The photo.
    score : float
        Its score.
    map : float64 array of shape (n_rows, n_columns)
        What each part gives to the score, as :func:`quality_map` returns it.

    Attributes
    ----------
    im_ : matplotlib AxesImage
        The map, after :meth:`plot`.
    colorbar_ : matplotlib Colorbar
        Its scale.
    ax_ : matplotlib Axes
        Their axes.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.inspection import QualityMapDisplay
    >>> china = load_sample_images().images[0]
    >>> display = QualityMapDisplay.from_estimator(skiqa.load_model(), china)
    >>> bool(abs(display.map.sum() - display.score) < 1e-3)
    True
    >>> plt.close(display.figure_)
    """

    im_: AxesImage
    colorbar_: Colorbar
    ax_: Axes
    figure_: Figure

    def __init__(self, *, photo: Pixels, score: float, map: Floats) -> None:
        self.photo = photo
        self.score = score
        self.map = map

    @classmethod
    def from_estimator(
        cls,
        estimator: Pipeline,
        image: Image,
        *,
        grid: tuple[int, int] = (16, 16),
        ax: Axes | None = None,
    ) -> QualityMapDisplay:
        """Split the score of a photo over its area, and plot it.

        Parameters
        ----------
        estimator : Pipeline
            Fitted: a :class:`~skiqa.ContrastiveQualityEncoder`, then a linear regressor.
        image : image
            A path, bytes, PIL image, array or tensor: anything that the encoder takes as one image.
        grid : tuple of 2 int, default=(16, 16)
            Rows and columns of the map.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        QualityMapDisplay
        """
        score, cells = quality_map(estimator, image, grid=grid)
        photo = as_image_list([image]).load(0, max_pixels=2**20)  # to look at: of any size
        return cls(photo=scale_down_to(photo, 1024), score=score, map=cells).plot(ax=ax)

    def plot(self, ax: Axes | None = None, *, alpha: float = 0.85) -> QualityMapDisplay:
        """Plot the map over the photo.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure of the photo's shape.
        alpha : float in [0, 1], default=0.85
            How much the map covers the photo where it is farthest from the score.

        Returns
        -------
        QualityMapDisplay
        """
        height, width = self.photo.shape[:2]
        if ax is None:
            ax = new_axes((7.0, float(np.clip(6.0 * height / width, 2.4, 9.0)) + 0.4))
        grey = self.photo @ np.array([0.299, 0.587, 0.114])  # colors are the map's
        ax.imshow(grey, cmap="gray", vmin=0, vmax=255)
        points = self.map * self.map.size
        distance = np.abs(points - self.score)
        reach = distance.max() or 1.0
        self.im_ = ax.imshow(
            points,
            cmap="RdBu",
            vmin=self.score - reach,
            vmax=self.score + reach,
            alpha=alpha * np.sqrt(distance / reach),
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        self.colorbar_ = ax.figure.colorbar(self.im_, ax=ax, label="score points")
        self.colorbar_.ax.axhline(self.score, color="black")
        ax.set_title(f"score {self.score:.4g}")
        ax.set_axis_off()
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self
