"""Displays: what degradations look like, and how a fitted model answers them.

Displays follow scikit-learn's: a class method computes and plots, ``plot`` plots again, what was
computed stays on the display. They need matplotlib: ``pip install "skiqa[plot]"``.
"""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skiqa._feature_selection import SemanticNoiseSelector
from skiqa._images import as_image_list, iter_decoded, resize
from skiqa._progress import progress_bar
from skiqa._quality_map import iter_quality_maps, quality_map
from skiqa.degradations import get_bank, list_operators
from skiqa.degradations._pillow import from_bytes, to_bytes
from skiqa.degradations._random import spawn

__all__ = [
    "DegradationGalleryDisplay",
    "DegradationResponseDisplay",
    "NoiseSpectrumDisplay",
    "iter_quality_maps",
    "level_concordance",
    "quality_map",
]

LEVELS = (1, 2, 3, 4, 5)


def _pyplot():
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Displays need matplotlib, which is not installed: pip install "skiqa[plot]"'
        ) from error
    return plt


def _operators(operators, levels):
    """Return the operators of a bank, or of names, and the levels, checked."""
    if isinstance(operators, str) and operators in list_operators():
        operators = (operators,)
    levels = tuple(levels)
    if not levels or any(level not in LEVELS for level in levels):
        raise ValueError(f"levels={levels!r}: give one or more of 1..5.")
    return get_bank(operators).operators, levels


def _degraded(image, operator, levels, seed):
    """One photo (h, w, 3) uint8 at several levels: (n_levels, h, w, 3) uint8."""
    photo = from_bytes(image[None]).expand(len(levels), -1, -1, -1)
    return to_bytes(operator(photo, torch.tensor(levels), seed))


def _at_most(image, max_side):
    longest = max(image.shape[:2])
    return image if max_side is None or longest <= max_side else resize(image, max_side / longest)


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

    def __init__(self, *, photo, images, operators, levels):
        self.photo = photo
        self.images = images
        self.operators = operators
        self.levels = levels

    @classmethod
    def from_photo(
        cls, photo, *, operators="all", levels=LEVELS, seed=0, max_side=256, verbose=0, ax=None
    ):
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
        operators, levels = _operators(operators, levels)
        image = _at_most(as_image_list([photo]).load(0), max_side)
        images = np.empty((len(operators), len(levels), *image.shape), np.uint8)
        bar = progress_bar("degrading", len(operators), enabled=verbose, unit="operators")
        with bar as advance:
            for k, operator in enumerate(operators):
                images[k] = _degraded(image, operator, levels, seed)
                advance()
        names = tuple(operator.name for operator in operators)
        return cls(photo=image, images=images, operators=names, levels=levels).plot(ax=ax)

    def plot(self, ax=None):
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
            ax = _pyplot().figure(figsize=size).add_axes(box)
        self.im_ = ax.imshow(mosaic, interpolation="antialiased")
        ax.set_yticks(np.arange(n_rows) * (h + gap) + h / 2, self.operators)
        labels = ["pristine", *(f"level {level}" for level in self.levels)]
        ax.set_xticks(np.arange(n_columns) * (w + gap) + w / 2, labels)
        ax.tick_params(length=0, labeltop=True)  # above and below: the grid may be long
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def level_concordance(scores):
    """Measure how surely scores fall with the level: the share of ordered pairs.

    Parameters
    ----------
    scores : array of shape (..., n_levels, n_photos)
        Scores, higher is better, of n_photos at levels in rising order; 2 levels or more.

    Returns
    -------
    float64 array of shape (...)
        Over all photos and all pairs of levels a < b, the share with score(a) > score(b); equal
        scores count one half. 1: always falls, 0.5: does not care, 0: always rises; (1 - tau) / 2
        with Kendall's tau-a of level and score. NaN where a score is.

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
    falls = np.sign(scores[..., a, :] - scores[..., b, :])
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

    def __init__(self, *, scores, operators, levels, monotone=None):
        self.scores = np.asarray(scores)
        self.operators = operators
        self.levels = levels
        self.monotone = [True] * len(operators) if monotone is None else monotone
        self.concordance = level_concordance(self.scores)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        photos,
        *,
        operators="kadis",
        levels=LEVELS,
        seed=0,
        max_side=None,
        verbose=0,
        ax=None,
    ):
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
        operators, levels = _operators(operators, sorted(set(levels)))
        photos = as_image_list(photos)
        scores = np.empty((len(operators), len(levels) + 1, len(photos)))
        total = len(photos) * len(operators) * len(levels)
        with progress_bar("scoring", total, enabled=verbose) as advance:
            for i, image in iter_decoded(photos):
                image = _at_most(image, max_side)
                own = spawn(torch.tensor([seed]), i).expand(len(levels))
                scores[:, 0, i] = _predict(estimator, [image])[0]
                for k, operator in enumerate(operators):
                    degraded = _degraded(image, operator, levels, own)
                    scores[k, 1:, i] = _predict(estimator, [*degraded])
                    advance(len(levels))
        return cls(
            scores=scores,
            operators=tuple(operator.name for operator in operators),
            levels=levels,
            monotone=tuple(operator.monotone for operator in operators),
        ).plot(ax=ax)

    def plot(self, ax=None):
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
        self.axes_, self.lines_, self.figure_ = axes, np.array(lines), axes[0].figure
        return self


def _predict(estimator, images):
    scores = np.asarray(estimator.predict(images), np.float64)
    if scores.shape != (len(images),):
        raise ValueError(
            f"The estimator must give one score an image, but {len(images)} images gave an array "
            f"of shape {scores.shape}."
        )
    return scores


def _panels(ax, n):
    """Return n axes, flat: those given, parts of the one given, or those of a new figure."""
    n_columns = min(n, 5)
    n_rows = -(-n // n_columns)
    if ax is None:
        size = (0.8 + 2.3 * n_columns, 0.7 + 1.85 * n_rows)
        plt = _pyplot()
        figure = plt.figure(figsize=size, layout="constrained")
        figure.supxlabel("level (0: pristine)")
        figure.supylabel("predicted score")
        grid = figure.add_gridspec(n_rows, n_columns)
    elif np.size(ax) > 1 or n == 1:
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) < n:
            raise ValueError(f"{n} operators need as many axes, or one to divide, not {len(axes)}.")
        return axes[:n]
    else:
        ax = np.asarray(ax, dtype=object).item()
        if ax.get_subplotspec() is None:
            raise ValueError("Only axes of a grid, such as plt.subplots makes, can be divided.")
        figure = ax.figure
        ax.set_axis_off()
        grid = ax.get_subplotspec().subgridspec(n_rows, n_columns, wspace=0.1, hspace=0.7)
    axes = []
    for k in range(n):
        first = axes[0] if axes else None
        panel = figure.add_subplot(grid[k // n_columns, k % n_columns], sharex=first, sharey=first)
        panel.tick_params(
            labelleft=k % n_columns == 0, labelbottom=k + n_columns >= n, labelsize="small"
        )
        axes.append(panel)
    return np.array(axes, dtype=object)


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

    def __init__(self, *, noise_ratio, gates, threshold=None):
        self.noise_ratio = np.asarray(noise_ratio)
        self.gates = np.asarray(gates)
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
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
        found = [step for step in steps if isinstance(step, SemanticNoiseSelector)]
        if not found:
            raise TypeError(
                "The estimator must be a SemanticNoiseSelector, or a Pipeline with one, not "
                f"{type(estimator).__name__}."
            )
        check_is_fitted(found[0])
        return cls(
            noise_ratio=found[0].noise_ratio_,
            gates=found[0].gates_,
            threshold=found[0].threshold,
        ).plot(ax=ax)

    def plot(self, ax=None):
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
            ax = _pyplot().figure(layout="constrained").add_subplot()
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
        self.ax_, self.figure_ = ax, ax.figure
        return self
