"""Predictions against opinions, and the photos where they differ most."""

import numpy as np

from skiqa._inputs.containers import as_image_list
from skiqa.inspection._common import at_most, new_axes
from skiqa.metrics import fit_logistic, plcc_score, srocc_score


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

    def __init__(self, *, y_true, y_pred, curve, outliers, thumbnails=None):
        self.y_true = y_true
        self.y_pred = y_pred
        self.curve = curve
        self.outliers = outliers
        self.thumbnails = thumbnails
        self.srocc = srocc_score(y_true, y_pred)
        self.plcc = plcc_score(y_true, curve(y_pred))

    @classmethod
    def from_estimator(cls, estimator, X, y, *, n_outliers=4, mapping="logistic4", ax=None):
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
        return cls.from_predictions(
            y, estimator.predict(X), X=X, n_outliers=n_outliers, mapping=mapping, ax=ax
        )

    @classmethod
    def from_predictions(
        cls, y_true, y_pred, *, X=None, n_outliers=4, mapping="logistic4", ax=None
    ):  # fmt: skip
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
            thumbnails = [at_most(images.load(i), 256) for i in outliers]
        return cls(
            y_true=y_true, y_pred=y_pred, curve=curve, outliers=outliers, thumbnails=thumbnails
        ).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure. Pictures stand to the right of it.

        Returns
        -------
        PredictedMosDisplay
        """
        pictures = self.thumbnails or []
        if ax is None:
            ax = new_axes((8.0 if pictures else 6.0, 4.8))
        n = len(self.y_true)
        self.points_ = ax.scatter(
            self.y_pred, self.y_true, s=max(2, 36 / n**0.2), alpha=max(0.2, n**-0.12), linewidth=0,
            color="tab:blue",
        )  # fmt: skip
        x = np.linspace(self.y_pred.min(), self.y_pred.max(), 256)
        label = f"{self.curve.name} fit: SROCC {self.srocc:.3f}, PLCC {self.plcc:.3f}"
        (self.curve_,) = ax.plot(x, self.curve(x), color="black", label=label)
        places = self.y_pred[self.outliers], self.y_true[self.outliers]
        ax.scatter(*places, s=60, facecolor="none", edgecolor="tab:red", linewidth=1.3)
        for k, place in enumerate(zip(*places, strict=True), start=1):
            ax.annotate(
                str(k), place, (5, 4), textcoords="offset points", color="tab:red", weight="bold"
            )
        self.thumbnails_ = []
        height = 1 / max(4, len(pictures))  # of a picture and the line above it
        for k, picture in enumerate(pictures):
            inset = ax.inset_axes((1.03, 1 - (k + 1) * height, 0.32, 0.74 * height))
            inset.imshow(picture)
            inset.set_anchor("W")
            inset.set_xticks([])
            inset.set_yticks([])
            inset.set_title(
                f"{k + 1}: MOS {places[1][k]:.3g}, predicted {places[0][k]:.3g}",
                loc="left", fontsize="x-small", pad=2,
            )  # fmt: skip
            self.thumbnails_.append(inset)
        ax.set(xlabel="prediction", ylabel="MOS")
        ax.grid(alpha=0.3)
        # outside: it would hide outliers
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2)
        self.ax_, self.figure_ = ax, ax.figure
        return self
