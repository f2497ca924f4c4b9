"""Predictions against opinions, and the photos where they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from skiqa._inputs.containers import as_image_list
from skiqa._types import Floats, Images, Integers, Pixels
from skiqa.inspection._common import figure_of, keep_in_place, new_axes, scale_down_to
from skiqa.metrics import fit_logistic, plcc_score, srocc_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from sklearn.base import BaseEstimator

    from skiqa.metrics._logistic import Mapping


class PredictedMosDisplay:
    """Opinion scores against predictions, with the logistic fit and the worst outliers.

    Made by :meth:`from_estimator` or :meth:`from_predictions`. The legend holds the SROCC, and the
    PLCC after the fit. Outliers are the photos whose opinion lies farthest from the curve; they are
    numbered, the worst first, and shown beside the plot.

    Parameters
    ----------
    y_true : float64 array of shape (n_samples,)
        Opinion scores, higher is better.
    y_pred : float64 array of shape (n_samples,)
        Predictions, in any unit.
    curve : callable
        From predictions to opinion scores, as :func:`skiqa.metrics.fit_logistic` returns it.
    outliers : intp array of shape (n_outliers,)
        Positions of the outliers, the worst first.
    thumbnails : list of uint8 arrays of shape (h, w, 3), or None, default=None
        The outliers' pictures.

    Attributes
    ----------
    srocc : float
        In [-1, 1].
    plcc : float
        In [-1, 1], after the curve.
    points_ : matplotlib PathCollection
        The photos, after :meth:`plot`.
    curve_ : matplotlib Line2D
        The curve.
    thumbnails_ : list of matplotlib Axes
        The pictures, in the order of the outliers.
    ax_ : matplotlib Axes
        Axes of the points.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, numpy as np
    >>> from skiqa.inspection import PredictedMosDisplay
    >>> mos = np.linspace(1, 5, 50)
    >>> predicted = 20 * mos
    >>> predicted[7] = 90
    >>> display = PredictedMosDisplay.from_predictions(mos, predicted, n_outliers=1)
    >>> display.outliers
    array([7])
    >>> plt.close(display.figure_)
    """

    points_: PathCollection
    curve_: Line2D
    thumbnails_: list[Axes]
    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        y_true: Floats,
        y_pred: Floats,
        curve: Mapping,
        outliers: Integers,
        thumbnails: Sequence[Pixels] | None = None,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.curve = curve
        self.outliers = outliers
        self.thumbnails = thumbnails
        self.srocc = srocc_score(y_true, y_pred)
        self.plcc = plcc_score(y_true, curve(y_pred))

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Images,
        y: npt.ArrayLike,
        *,
        n_outliers: int = 4,
        mapping: str = "logistic4",
        ax: Axes | None = None,
    ) -> PredictedMosDisplay:
        """Predict, and plot against the opinions.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict``.
        X : array-like of images
            What the estimator takes.
        y : array-like of float, shape (n_samples,)
            Opinion scores.
        n_outliers : int in [0, inf), default=4
            How many outliers are shown.
        mapping : {"logistic4", "logistic5"}, default="logistic4"
            The curve, see :func:`skiqa.metrics.fit_logistic`.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        PredictedMosDisplay
        """
        y_pred = estimator.predict(X)
        return cls.from_predictions(y, y_pred, X=X, n_outliers=n_outliers, mapping=mapping, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        *,
        X: Images | None = None,
        n_outliers: int = 4,
        mapping: str = "logistic4",
        ax: Axes | None = None,
    ) -> PredictedMosDisplay:
        """Plot predictions against the opinions.

        Parameters
        ----------
        y_true : array-like of float, shape (n_samples,)
            Opinion scores.
        y_pred : array-like of float, shape (n_samples,)
            Predictions.
        X : array-like of images or None, default=None
            The photos, of which only the outliers are opened. None: outliers are marked only.
        n_outliers, mapping, ax
            As for :meth:`from_estimator`.

        Returns
        -------
        PredictedMosDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or there are fewer than two samples.
        ImageError
            If an outlier cannot be opened.
        """
        curve = fit_logistic(y_true, y_pred, mapping)
        y_true, y_pred = (np.asarray(y, np.float64) for y in (y_true, y_pred))
        outliers = np.argsort(-np.abs(y_true - curve(y_pred)), kind="stable")[:n_outliers]
        thumbnails = None
        if X is not None:
            images = as_image_list(X)
            if len(images) != len(y_true):
                raise ValueError(f"X has {len(images)} images, y_true {len(y_true)} scores.")
            thumbnails = [scale_down_to(images.load(i), 256) for i in outliers]
        return cls(
            y_true=y_true, y_pred=y_pred, curve=curve, outliers=outliers, thumbnails=thumbnails
        ).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> PredictedMosDisplay:
        """Plot the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure. Pictures stand to the right of it.

        Returns
        -------
        PredictedMosDisplay
        """
        if ax is None:
            ax = new_axes((8.0 if self.thumbnails else 6.0, 4.8))
        n = len(self.y_true)
        size, alpha = max(2, 36 / n**0.2), max(0.2, n**-0.12)
        self.points_ = ax.scatter(
            self.y_pred, self.y_true, size, color="tab:blue", alpha=alpha, linewidth=0
        )
        x = np.linspace(self.y_pred.min(), self.y_pred.max(), 256)
        label = f"{self.curve.name} fit: SROCC {self.srocc:.3f}, PLCC {self.plcc:.3f}"
        (self.curve_,) = ax.plot(x, self.curve(x), color="black", label=label)
        predicted, mos = self.y_pred[self.outliers], self.y_true[self.outliers]
        ax.scatter(predicted, mos, 60, facecolor="none", edgecolor="tab:red", linewidth=1.3)
        for k, place in enumerate(zip(predicted, mos, strict=True), start=1):
            ax.annotate(
                f"{k}", place, (5, 4), textcoords="offset points", color="tab:red", weight="bold"
            )
        ax.set(xlabel="prediction", ylabel="MOS")
        ax.grid(alpha=0.3)
        # outside: it would hide outliers; on the right: on the left stands the axis' power of ten
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0.2)
        self._add_thumbnails(ax)
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self

    def _add_thumbnails(self, ax: Axes) -> None:
        self.thumbnails_ = []
        pictures = self.thumbnails or []
        height = 1 / max(4, len(pictures))  # of a picture and the line above it
        for k, (i, picture) in enumerate(zip(self.outliers, pictures, strict=False)):
            inset = ax.inset_axes((1.03, 1 - (k + 1) * height, 0.32, 0.74 * height))
            inset.imshow(picture)
            inset.set_anchor("W")
            inset.set_xticks([])
            inset.set_yticks([])
            caption = f"{k + 1}: MOS {self.y_true[i]:.3g}, predicted {self.y_pred[i]:.3g}"
            inset.set_title(caption, loc="left", fontsize="x-small", pad=2)
            self.thumbnails_.append(inset)
        keep_in_place(ax, self.thumbnails_)
