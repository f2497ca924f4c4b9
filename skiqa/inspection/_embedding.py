"""What features know of degradations: a scatter plot in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from skiqa._types import Floats, Images
from skiqa.inspection._common import figure_of, keep_in_place, new_axes, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from sklearn.base import BaseEstimator

PRISTINE = "pristine"
MARKERS = "os^Dv"


class EmbeddingDisplay:
    """Features of photos in two dimensions, colored by degradation, larger with the level.

    Made by :meth:`from_estimator` or :meth:`from_features`.

    Parameters
    ----------
    embedding : float array of shape (n_samples, 2)
        Places of the photos.
    degradation : sequence of str or None, of length n_samples, default=None
        Name of each photo's degradation; None or "" is a pristine photo.
    level : float array of shape (n_samples,), default=None
        Levels, 0 or more.
    axis_labels : sequence of 2 str, default=("dimension 1", "dimension 2")
        What the axes are.

    Attributes
    ----------
    points_ : dict of str to matplotlib PathCollection
        The photos of each degradation, after :meth:`plot`.
    ax_ : matplotlib Axes
        Their axes.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.degradations import degrade
    >>> from skiqa.inspection import EmbeddingDisplay
    >>> photos, names, levels = [], [], []
    >>> for photo in load_sample_images().images:
    ...     for name in ("jpeg", "gaussian_blur"):
    ...         for level in (1, 3, 5):
    ...             photos.append(degrade(photo[:128, :128], name, level))
    ...             names.append(name)
    ...             levels.append(level)
    >>> display = EmbeddingDisplay.from_estimator(
    ...     skiqa.load_model(), photos, degradation=names, level=levels
    ... )
    >>> display.embedding.shape
    (12, 2)
    >>> plt.close(display.figure_)
    """

    points_: dict[str, PathCollection]
    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        embedding: Floats,
        degradation: Sequence[str | None] | None = None,
        level: Floats | None = None,
        axis_labels: Sequence[str] = ("dimension 1", "dimension 2"),
    ) -> None:
        self.embedding = embedding
        self.degradation = degradation
        self.level = level
        self.axis_labels = axis_labels

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Images,
        *,
        degradation: Sequence[str | None] | None = None,
        level: npt.ArrayLike | None = None,
        transformer: BaseEstimator | None = None,
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Compute the features of photos, and plot them.

        Parameters
        ----------
        estimator : transformer or Pipeline
            Fitted: an encoder; of a Pipeline that ends with a regressor, what comes before it.
        X : array-like of images
            What the estimator takes.
        degradation : array-like of str of shape (n_samples,), default=None
            Name of each photo's degradation; None or "" is a pristine photo.
        level : array-like of float of shape (n_samples,), default=None
            Levels, 0 or more.
        transformer : transformer or None, default=None
            Its ``fit_transform`` makes two columns of the features; None is
            ``sklearn.decomposition.PCA(2)``.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        EmbeddingDisplay
        """
        if isinstance(estimator, Pipeline) and not hasattr(estimator, "transform"):
            estimator = estimator[:-1]
        if not hasattr(estimator, "transform"):
            raise TypeError(
                "The estimator must give features, but "
                f"{type(estimator).__name__} has no transform."
            )
        features = estimator.transform(X)
        return cls.from_features(
            features, degradation=degradation, level=level, transformer=transformer, ax=ax
        )

    @classmethod
    def from_features(
        cls,
        features: npt.ArrayLike,
        *,
        degradation: Sequence[str | None] | None = None,
        level: npt.ArrayLike | None = None,
        transformer: BaseEstimator | None = None,
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Plot features.

        Parameters
        ----------
        features : array-like of shape (n_samples, n_features)
            Two samples or more.
        degradation, level, transformer, ax
            As for :meth:`from_estimator`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or the transformer does not make two columns.
        """
        n = np.shape(features)[0]
        if level is not None:
            level = np.asarray(level, np.float64)
        for name, values in (("degradation", degradation), ("level", level)):
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} entries, but there are {n} samples.")
        transformer = PCA(2) if transformer is None else transformer
        embedding = np.asarray(transformer.fit_transform(features))
        if embedding.shape != (n, 2):
            raise ValueError(
                f"The transformer must make two columns of {n} rows, not {embedding.shape}."
            )
        labels = [f"{type(transformer).__name__} {k + 1}" for k in range(2)]
        explained = getattr(transformer, "explained_variance_ratio_", None)
        if explained is not None:
            labels = [f"{labels[k]} ({explained[k]:.0%} of the variance)" for k in range(2)]
        display = cls(embedding=embedding, degradation=degradation, level=level, axis_labels=labels)
        return display.plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> EmbeddingDisplay:
        """Plot the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        EmbeddingDisplay
        """
        if ax is None:
            ax = new_axes((7.5, 5.0))
        n = len(self.embedding)
        given = [None] * n if self.degradation is None else self.degradation
        names = np.array([PRISTINE if name in (None, "") else str(name) for name in given])
        sizes = np.full(n, 20.0) if self.level is None else _sizes(self.level)
        kinds = sorted(set(names) - {PRISTINE}) + [PRISTINE] * (PRISTINE in names)
        colors = pyplot().get_cmap("tab10" if len(kinds) <= 11 else "tab20").colors
        self.points_ = {}
        for k, kind in enumerate(kinds):
            own = names == kind
            color = "black" if kind == PRISTINE else colors[k % len(colors)]
            marker = MARKERS[k // len(colors) % len(MARKERS)]
            x, y = self.embedding[own].T
            self.points_[kind] = ax.scatter(
                x, y, sizes[own], color=color, marker=marker, alpha=0.7, linewidth=0, label=kind
            )
        ax.set(xlabel=self.axis_labels[0], ylabel=self.axis_labels[1])
        ax.grid(alpha=0.3)
        if self.degradation is not None:
            self._add_legend(ax)
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self

    def _add_legend(self, ax: Axes) -> None:
        handles = list(self.points_.values())
        if self.level is not None:
            for level in np.unique(self.level[np.isfinite(self.level)])[:10]:
                label = f"level {level:g}"
                handles.append(ax.scatter([], [], s=_sizes(level), color="tab:gray", label=label))
        legend = ax.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            fontsize="small",
            ncols=1 + (len(handles) > 24),
        )
        keep_in_place(ax, [legend])


def _sizes(level: npt.ArrayLike) -> Floats:
    """Return areas of markers in square points; a level that is not known is as small as 0."""
    return 8.0 + 14.0 * np.nan_to_num(level)
