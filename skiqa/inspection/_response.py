"""How a fitted model's score answers degradations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from skiqa._inputs.containers import as_image_list
from skiqa._inputs.prefetch import iter_decoded
from skiqa._progress import progress_bar
from skiqa._types import Floats, Images, Pixels
from skiqa.degradations import Bank
from skiqa.degradations._random import spawn
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
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import GridSpecBase
    from sklearn.base import BaseEstimator

_Artists: TypeAlias = npt.NDArray[np.object_]


def level_concordance(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Measure how surely scores fall with the level: the share of ordered pairs.

    Parameters
    ----------
    scores : array of shape (..., n_levels, n_photos)
        Scores, higher is better, of n_photos at levels in rising order; 2 levels or more.

    Returns
    -------
    float64 array of shape (...)
        Over all photos and all pairs of levels a < b, the share with score(a) > score(b); scores
        that are equal to nine digits, as those of equal pictures are, count one half. 1: always
        falls, 0.5: does not care, 0: always rises; (1 - tau) / 2 with Kendall's tau-a of level and
        score. NaN where a score is.

    Examples
    --------
    >>> from skiqa.inspection import level_concordance
    >>> level_concordance([[5.0, 9.0], [4.0, 8.0], [3.0, 8.5]])  # 3 + 2 of 6 pairs
    array(0.83333333)
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim < 2 or scores.shape[-2] < 2 or not scores.shape[-1]:
        raise ValueError(
            "scores must have shape (..., n_levels, n_photos) with two levels or more, not "
            f"{scores.shape}."
        )
    a, b = np.triu_indices(scores.shape[-2], 1)
    above, below = scores[..., a, :], scores[..., b, :]
    # the scores of equal pictures differ in the last digit from batch to batch
    falls = np.where(np.isclose(above, below, rtol=1e-9, atol=0), 0.0, np.sign(above - below))
    return np.asarray((1 + falls.mean((-2, -1))) / 2)


class DegradationResponseDisplay:
    """How a fitted model's score falls as a degradation grows: a panel for each operator.

    Made by :meth:`from_estimator`. In each panel the thick line is the mean over the photos, the
    thin ones are the photos; the number is the operator's :func:`level_concordance`, 1 where every
    level costs every photo some score. The title names operators that do not claim to be monotone:
    their levels run from more to less, say.

    Parameters
    ----------
    scores : float array of shape (n_operators, n_levels + 1, n_photos)
        Scores; first those of the photos as they are.
    operators : sequence of str
        Names of the operators.
    levels : sequence of int
        Levels, ascending, without 0 for the photo as it is.
    monotone : sequence of bool, default=None
        Which operators claim to be worse with every level; None: all.

    Attributes
    ----------
    concordance : float array of shape (n_operators,)
        The :func:`level_concordance` of each operator, over 0 (pristine) and the levels.
    axes_ : array of matplotlib Axes of shape (n_operators,)
        The panels, after :meth:`plot`.
    lines_ : array of matplotlib Line2D of shape (n_operators,)
        The means over the photos.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.inspection import DegradationResponseDisplay
    >>> class Contrast(BaseEstimator):
    ...     def predict(self, X):
    ...         return np.array([image.std() for image in X])
    >>> display = DegradationResponseDisplay.from_estimator(
    ...     Contrast(), load_sample_images().images, operators=("lens_blur", "white_noise"),
    ...     max_side=64,
    ... )
    >>> blur, noise = display.concordance
    >>> blur, noise < 0.1  # blur lowers the contrast, noise raises it
    (np.float64(1.0), np.True_)
    >>> plt.close(display.figure_)
    """

    axes_: _Artists
    lines_: _Artists
    figure_: Figure

    def __init__(
        self,
        *,
        scores: npt.ArrayLike,
        operators: Sequence[str],
        levels: Sequence[int],
        monotone: Sequence[bool] | None = None,
    ) -> None:
        self.scores: Floats = np.asarray(scores)
        self.operators = operators
        self.levels = levels
        self.monotone = [True] * len(operators) if monotone is None else monotone
        self.concordance = level_concordance(self.scores)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        photos: Images,
        *,
        operators: str | Bank | Sequence[str] = "kadis",
        levels: Sequence[int] = LEVELS,
        seed: int = 0,
        max_side: int | None = None,
        verbose: int = 0,
        ax: Axes | _Artists | None = None,
    ) -> DegradationResponseDisplay:
        """Score photos at every level of every operator, and plot.

        Parameters
        ----------
        estimator : estimator
            Fitted; its ``predict`` takes a list of uint8 arrays (h, w, 3) and gives scores, higher
            is better: what :func:`skiqa.load_model` returns, say.
        photos : array-like of images
            What the model's encoder takes. Best good ones: what is bad cannot get much worse.
        operators : str, Bank, or sequence of str, default="kadis"
            A bank ("all": every registered operator), or names of operators.
        levels : sequence of int, default=(1, 2, 3, 4, 5)
            Levels.
        seed : int, default=0
            Seed of random operators; each photo draws numbers of its own from it.
        max_side : int or None, default=None
            Photos whose longer side is above are scaled down first.
        verbose : int, default=0
            Above 0: a progress bar on standard error.
        ax : matplotlib Axes or array of n_operators of them, default=None
            Where to plot: one is divided into panels. None makes a figure.

        Returns
        -------
        DegradationResponseDisplay

        Notes
        -----
        ``n_photos * (n_operators * n_levels + 1)`` predictions; the pictures of one photo and
        one operator are held at a time.
        """
        if not hasattr(estimator, "predict"):
            raise TypeError(
                f"The estimator must predict scores, but {type(estimator).__name__} has no predict."
            )
        bank, levels = checked_operators(operators, sorted(set(levels)))
        images = as_image_list(photos)
        scores = np.empty((len(bank), len(levels) + 1, len(images)))
        total = len(images) * len(bank) * len(levels)
        with progress_bar("scoring", total, enabled=verbose > 0) as advance:
            for i, image in iter_decoded(images):
                photo = scale_down_to(cast(Pixels, image), max_side)  # errors are raised
                own = spawn(torch.tensor([seed]), i).expand(len(levels))
                scores[:, 0, i] = _predict(estimator, [photo])[0]
                for k, operator in enumerate(bank):
                    pictures = degrade_at_levels(photo, operator, levels, own)
                    scores[k, 1:, i] = _predict(estimator, [*pictures])
                    advance(len(levels))
        names = tuple(operator.name for operator in bank)
        monotone = tuple(operator.monotone for operator in bank)
        display = cls(scores=scores, operators=names, levels=levels, monotone=monotone)
        return display.plot(ax=ax)

    def plot(self, ax: Axes | _Artists | None = None) -> DegradationResponseDisplay:
        """Plot the panels.

        Parameters
        ----------
        ax : matplotlib Axes or array of n_operators of them, default=None
            Where to plot: one is divided into panels. None makes a figure.

        Returns
        -------
        DegradationResponseDisplay
        """
        axes = _panels(ax, len(self.operators))
        places = [0, *self.levels]
        lines = []
        for k, panel in enumerate(axes):
            panel.plot(places, self.scores[k], color="tab:gray", linewidth=0.5, alpha=0.5)
            mean = self.scores[k].mean(1)
            lines += panel.plot(places, mean, color="tab:blue", marker="o", markersize=3)
            note = "" if self.monotone[k] else ", not monotone"
            title = f"{self.operators[k]}\n{self.concordance[k]:.2f} in order{note}"
            panel.set_title(title, fontsize="small")
            panel.set_xticks(places)
            panel.grid(alpha=0.3)
        self.axes_, self.lines_ = axes, np.array(lines, dtype=object)
        self.figure_ = figure_of(axes[0])
        return self


def _predict(estimator: BaseEstimator, images: Sequence[Pixels]) -> npt.NDArray[np.float64]:
    scores = np.asarray(estimator.predict(images), np.float64)
    if scores.shape != (len(images),):
        raise ValueError(
            f"The estimator must give one score an image, but {len(images)} images gave an array "
            f"of shape {scores.shape}."
        )
    return scores


def _panels(ax: Axes | _Artists | None, n: int) -> _Artists:
    """Return n axes, flat: those given, parts of the one given, or those of a new figure."""
    n_columns = min(n, 5)
    n_rows = -(-n // n_columns)
    figure: Figure | SubFigure
    grid: GridSpecBase
    given = np.asarray(ax, dtype=object).ravel()
    if ax is None:
        size = (0.8 + 2.3 * n_columns, 0.7 + 1.85 * n_rows)
        plt = pyplot()
        figure = plt.figure(figsize=size, layout="constrained")
        figure.supxlabel("level (0: pristine)")
        figure.supylabel("predicted score")
        grid = figure.add_gridspec(n_rows, n_columns)
    elif len(given) > 1 or n == 1:
        if len(given) < n:
            raise ValueError(
                f"{n} operators need as many axes, or one to divide, not {len(given)}."
            )
        return given[:n]
    else:
        whole: Axes = given[0]
        place = whole.get_subplotspec()
        if place is None:
            raise ValueError("Only axes of a grid, such as plt.subplots makes, can be divided.")
        figure = whole.figure
        whole.set_axis_off()
        grid = place.subgridspec(n_rows, n_columns, wspace=0.1, hspace=0.7)
    panels: list[Axes] = []
    for k in range(n):
        first = panels[0] if panels else None
        panel = figure.add_subplot(grid[k // n_columns, k % n_columns], sharex=first, sharey=first)
        panel.tick_params(
            labelleft=k % n_columns == 0, labelbottom=k + n_columns >= n, labelsize="small"
        )
        panels.append(panel)
    return np.array(panels, dtype=object)
