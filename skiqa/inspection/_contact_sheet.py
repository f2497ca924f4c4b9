"""The best, the middle and the worst of many photos, by score."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from skiqa._inputs.containers import as_image_list
from skiqa._types import Floats, Images, Integers, Pixels
from skiqa.inspection._common import figure_of, new_axes, scale_down_to

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from sklearn.base import BaseEstimator

ROWS = ("best", "median", "worst")


class ContactSheetDisplay:
    """Photos in order of their scores: a row of the best, one about the median, one of the worst.

    Made by :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    thumbnails : list of 3 lists of n uint8 arrays of shape (h, w, 3)
        Pictures of the three rows.
    scores : float64 array of shape (3, n)
        Scores, falling in each row.
    indices : intp array of shape (3, n)
        Positions of the photos.
    names : list of 3 lists of n str
        What the photos are called; "" for arrays.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the sheet, after :meth:`plot`.
    figure_ : matplotlib Figure
        Its figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.degradations import degrade
    >>> from skiqa.inspection import ContactSheetDisplay
    >>> china = load_sample_images().images[0]
    >>> photos = [degrade(china, "gaussian_blur", level) for level in (5, 1, 3)]
    >>> display = ContactSheetDisplay.from_estimator(skiqa.load_model(), photos, n=1)
    >>> display.indices.ravel()
    array([1, 2, 0])
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        thumbnails: Sequence[Sequence[Pixels]],
        scores: Floats,
        indices: Integers,
        names: Sequence[Sequence[str]],
    ) -> None:
        self.thumbnails = thumbnails
        self.scores = scores
        self.indices = indices
        self.names = names

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Images, *, n: int = 5, ax: Axes | None = None
    ) -> ContactSheetDisplay:
        """Score photos, and plot the sheet.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict``; higher is better.
        X : array-like of images
            What the estimator takes.
        n : int in [1, inf), default=5
            Photos in a row, or all if there are fewer. Below ``3 * n`` photos some stand in two
            rows.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        ContactSheetDisplay
        """
        return cls.from_predictions(X, estimator.predict(X), n=n, ax=ax)

    @classmethod
    def from_predictions(
        cls, X: Images, y_pred: npt.ArrayLike, *, n: int = 5, ax: Axes | None = None
    ) -> ContactSheetDisplay:
        """Plot the sheet of photos whose scores are known.

        Parameters
        ----------
        X : array-like of images
            The photos, of which only those shown are opened.
        y_pred : array-like of float of shape (n_samples,)
            Scores, higher is better. Photos with NaN are left out.
        n, ax
            As for :meth:`from_estimator`.

        Returns
        -------
        ContactSheetDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or no photo has a score.
        ImageError
            If a photo shown cannot be opened.
        """
        images, scores = as_image_list(X), np.asarray(y_pred, np.float64)
        if scores.shape != (len(images),):
            raise ValueError(f"X has {len(images)} images, but y_pred has shape {scores.shape}.")
        if n < 1:
            raise ValueError(f"n={n}: give one photo in a row, or more.")
        order = np.argsort(-scores, kind="stable")
        order = order[: np.isfinite(scores).sum()]
        if not len(order):
            raise ValueError("No photo has a score: y_pred holds no finite number.")
        n = min(n, len(order))
        middle = (len(order) - n) // 2
        indices = np.stack([order[:n], order[middle : middle + n], order[len(order) - n :]])
        return cls(
            thumbnails=[[scale_down_to(images.load(i), 256) for i in row] for row in indices],
            scores=scores[indices],
            indices=indices,
            names=[[_name(images.source(i)) for i in row] for row in indices],
        ).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> ContactSheetDisplay:
        """Plot the sheet.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure of a size that fits.

        Returns
        -------
        ContactSheetDisplay
        """
        n = self.scores.shape[1]
        if ax is None:
            ax = new_axes((0.8 + 1.7 * n, 6.0))
        for i, row in enumerate(self.thumbnails):
            for j, picture in enumerate(row):
                half = np.array(picture.shape[:2]) / max(picture.shape[:2]) / 2  # in a unit square
                x, y = 1.08 * j, 1.28 * i
                extent = (x - half[1], x + half[1], y + half[0], y - half[0])
                ax.imshow(picture, extent=extent, interpolation="antialiased")
                caption = f"{self.scores[i, j]:.4g}"
                if self.names[i][j]:
                    caption += f"\n{self.names[i][j]}"
                ax.text(x, y + 0.52, caption, ha="center", va="top", fontsize="x-small")
        ax.set(xlim=(-0.54, 1.08 * n - 0.54), ylim=(2 * 1.28 + 0.76, -0.54))
        ax.set_yticks(1.28 * np.arange(3), ROWS)
        ax.set_xticks([])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self


def _name(source: str, longest: int = 20) -> str:
    """Return the end of a path, as ImageList.source gives it; "" for what has no name."""
    name = "" if source.startswith("<") else os.path.basename(source[1:-1])
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
