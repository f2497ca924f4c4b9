"""How much of each feature is semantic noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skiqa._semantic_noise import SemanticNoiseSelector
from skiqa._types import Floats, Integers
from skiqa.inspection._common import figure_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from sklearn.base import BaseEstimator


class NoiseSpectrumDisplay:
    """How much of each feature is semantic noise: features in order of their noise ratio.

    Made by :meth:`from_estimator`. The gates that the selector gave to the same features are dots
    beside the line; a hard threshold is a dashed line.

    Parameters
    ----------
    noise_ratio : float array of shape (n_features,)
        Share of noise in each feature, in [0, 1].
    gates : float array of shape (n_features,)
        In [0, 1].
    threshold : float or None, default=None
        Gate from which features are kept; None: all are.

    Attributes
    ----------
    order_ : intp array of shape (n_features,)
        Features as they stand on the axis, the least noisy first; after :meth:`plot`.
    line_ : matplotlib Line2D
        The noise ratios.
    gates_ : matplotlib Line2D
        The gates.
    threshold_ : matplotlib Line2D or None
        The threshold.
    ax_ : matplotlib Axes
        Their axes.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_diabetes
    >>> from skiqa import SemanticNoiseSelector
    >>> from skiqa.inspection import NoiseSpectrumDisplay
    >>> table = load_diabetes()
    >>> selector = SemanticNoiseSelector().fit(table.data, table.target)
    >>> display = NoiseSpectrumDisplay.from_estimator(selector)
    >>> [table.feature_names[j] for j in display.order_[[0, 1, -1]]]
    ['bmi', 's5', 'sex']
    >>> plt.close(display.figure_)
    """

    order_: Integers
    line_: Line2D
    gates_: Line2D
    threshold_: Line2D | None
    ax_: Axes
    figure_: Figure

    def __init__(
        self, *, noise_ratio: npt.ArrayLike, gates: npt.ArrayLike, threshold: float | None = None
    ) -> None:
        self.noise_ratio: Floats = np.asarray(noise_ratio)
        self.gates: Floats = np.asarray(gates)
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, *, ax: Axes | None = None
    ) -> NoiseSpectrumDisplay:
        """Plot what a selector found.

        Parameters
        ----------
        estimator : SemanticNoiseSelector
            Fitted; or a Pipeline that has one as a step.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        NoiseSpectrumDisplay
        """
        steps = [step for _, step in getattr(estimator, "steps", [(None, estimator)])]
        selectors = [step for step in steps if isinstance(step, SemanticNoiseSelector)]
        if not selectors:
            raise TypeError(
                "The estimator must be a SemanticNoiseSelector, or a Pipeline with one, not "
                f"{type(estimator).__name__}."
            )
        selector = selectors[0]
        check_is_fitted(selector)
        display = cls(
            noise_ratio=selector.noise_ratio_, gates=selector.gates_, threshold=selector.threshold
        )
        return display.plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> NoiseSpectrumDisplay:
        """Plot the spectrum.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        NoiseSpectrumDisplay
        """
        if ax is None:
            ax = new_axes(None)
        self.order_ = np.argsort(self.noise_ratio, kind="stable")
        rank = np.arange(1, len(self.order_) + 1)
        (self.gates_,) = ax.plot(
            rank, self.gates[self.order_], ".", color="tab:orange", markersize=3, label="gate"
        )
        (self.line_,) = ax.plot(
            rank, self.noise_ratio[self.order_], color="tab:blue", label="noise ratio"
        )
        self.threshold_ = None
        if self.threshold is not None:
            self.threshold_ = ax.axhline(
                self.threshold, color="tab:gray", linestyle="--", label="threshold of the gates"
            )
        ax.set(xlabel="features, least noisy first", ylabel="share", ylim=(-0.03, 1.03))
        ax.grid(alpha=0.3)
        ax.legend()
        self.ax_, self.figure_ = ax, figure_of(ax)
        return self
