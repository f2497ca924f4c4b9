"""ViewPooling: one row for what is judged by many pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skiqa._inputs.containers import is_rows, refuse_lone_numbers
from skiqa._inputs.forms import describe, is_array_like, is_row_of_data_set, is_single, is_tensor
from skiqa._inputs.images import refuse_empty
from skiqa._types import Floats, Image
from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.exceptions import ImageError
from skiqa.views import View, pool_views
from skiqa.views._view import naming

_VIEWS_AT_A_TIME = 16  # whose pixels are in memory


class ViewPooling(DefaultsWhenUnpickled, TransformerMixin, BaseEstimator):
    """Features of films, panoramas, volumes and whatever is seen in many views: their rows pooled.

    Parameters
    ----------
    encoder : transformer
        What turns images into features, such as a :class:`~skiqa.ContrastiveQualityEncoder`. It is
        cloned, and fitted to the first view of each sample.
    views : callable or None, default=None
        From a sample, such as the path of a film, to its views: images, or
        :class:`~skiqa.views.View`, which may be weighted. ``functools.partial(video_frames,
        count=16)`` is one. None: a sample is a sequence of images, an array (n_views, h, w, c), or
        a single image.
    pooling : sequence of str, default=("mean", "std", "min")
        As of :func:`~skiqa.views.pool_views`. ("mean",) is CONVIQT's.
    worst_part : float in (0, 1], default=0.1
        As of :func:`~skiqa.views.pool_views`, for "worst".

    Attributes
    ----------
    encoder_ : transformer
        The fitted clone.

    See Also
    --------
    skiqa.views : What yields views.

    Notes
    -----
    Views are drawn and encoded sixteen at a time, and of those before only the rows are kept: a
    film is never in memory. `fit` draws the first view of each sample.

    A callable that is a function of a module, or a partial of one, can be pickled.

    References
    ----------
    Madhusudana et al., "CONVIQT: Contrastive Video Quality Estimator", IEEE TIP 32, 2023: features
    of frames, a ridge on their mean over time. The recurrent network between the two is not here.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skiqa import ContrastiveQualityEncoder, ViewPooling
    >>> from skiqa.views import viewports
    >>> rng = np.random.default_rng(0)
    >>> panoramas = [rng.integers(0, 256, (64, 128, 3), dtype=np.uint8) for _ in range(2)]
    >>> encoder = ContrastiveQualityEncoder()
    >>> pooled = ViewPooling(encoder, views=viewports, pooling=("mean", "worst"))
    >>> make_pipeline(pooled, Ridge()).fit(panoramas, [0.2, 0.4]).predict(panoramas).shape
    (2,)
    """

    _parameter_constraints = {
        "encoder": [HasMethods(["fit", "transform"])],
        "views": [callable, None],
        "pooling": [tuple, list],
        "worst_part": [Interval(Real, 0, 1, closed="right")],
    }

    encoder_: BaseEstimator

    def __init__(
        self,
        encoder: BaseEstimator,
        *,
        views: Callable[[Any], Iterable[Image | View]] | None = None,
        pooling: Sequence[str] = ("mean", "std", "min"),
        worst_part: float = 0.1,
    ) -> None:
        self.encoder = encoder
        self.views = views
        self.pooling = pooling
        self.worst_part = worst_part

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: object = None) -> Self:
        """Fit a clone of the encoder to the first view of each sample.

        Parameters
        ----------
        X : sequence of samples
            What `views` takes. Without it, see there; rows of numbers are one view each.
        y : None
            Never looked at; in a Pipeline it is the MOS.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ImageError
            If a sample cannot be read; the message names it.
        ValueError, TypeError
            If X or a parameter is of no use.
        """
        if not len(self.pooling):
            raise ValueError("pooling is empty: give one or more names, such as ('mean',)")
        pool_views([[0.0]], pooling=self.pooling, worst_part=self.worst_part)  # are they known?
        samples = self._samples(X, reset=True)
        firsts = samples
        if not is_rows(X):
            firsts = [next(self._views_of(samples, index))[0] for index in range(len(samples))]
        self.encoder_ = clone(self.encoder).fit(firsts)
        return self

    def transform(self, X: Any) -> Floats:
        """Return a row for each sample.

        Parameters
        ----------
        X : sequence of samples
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, len(pooling) * n_features)
            Pooling by pooling, in the dtype of the encoder's. NaN where the encoder gives NaN for
            a view.

        Raises
        ------
        ImageError, ValueError, TypeError
            As in `fit`.
        """
        check_is_fitted(self)
        samples = self._samples(X, reset=False)
        if is_rows(X):  # a view each
            rows = np.asarray(self.encoder_.transform(samples))
            return np.stack([self._pooled(row[None], [1.0]) for row in rows])
        return np.stack([self._row(samples, index) for index in range(len(samples))])

    def _samples(self, X: Any, *, reset: bool) -> Any:
        """Return X as something with a length and indices; rows of numbers are checked."""
        if is_rows(X):
            refuse_lone_numbers(X)
            return validate_data(self, X, dtype=None, reset=reset)
        if is_single(X) or not hasattr(X, "__len__"):
            raise TypeError(f"X is a single sample, {describe(X)}: pass [sample], a list of one")
        refuse_empty(len(X), "sample", (0,))
        if is_array_like(X) and not is_tensor(X):
            X = np.asarray(X)  # a Series, too, whose index may be anything
            return X[:, 0] if X.ndim == 2 else X
        return X

    def _views_of(self, samples: Any, index: int) -> Iterator[tuple[Any, float]]:
        """Yield (image, weight) of the views of X[index]; ImageError and ValueError name it."""
        sample, n_views = samples[index], 0
        try:
            for view in self._drawn(sample):
                n_views += 1
                yield (view.image, view.weight) if isinstance(view, View) else (view, 1.0)
            if not n_views:
                raise ValueError("there are no views")
        except ImageError as error:
            raise naming(f"X[{index}] = {describe(sample)}", error) from error
        except ValueError as error:
            raise ValueError(f"X[{index}] = {describe(sample)}: {error}") from error

    def _drawn(self, sample: Any) -> Iterable[Any]:
        if self.views is not None:
            return self.views(sample)
        several = getattr(sample, "ndim", 0) == 4 or (
            not is_single(sample)
            and not is_array_like(sample)
            and not is_row_of_data_set(sample)
            and isinstance(sample, Sequence)
        )
        return sample if several else [sample]

    def _row(self, samples: Any, index: int) -> Floats:
        views = self._views_of(samples, index)
        parts, weights = [], []
        while some := list(islice(views, _VIEWS_AT_A_TIME)):
            weights += [weight for _, weight in some]
            try:
                parts.append(np.asarray(self.encoder_.transform([image for image, _ in some])))
            except ImageError as error:
                message = f"X[{index}] = {describe(samples[index])}, among its views {error}"
                raise ImageError(message, kind=error.kind, reason=error.reason) from error
        return self._pooled(np.concatenate(parts), weights)

    def _pooled(self, rows: Floats, weights: Sequence[float]) -> Floats:
        pooled = pool_views(rows, weights, pooling=self.pooling, worst_part=self.worst_part)
        return pooled.astype(rows.dtype if rows.dtype.kind == "f" else np.float64)

    def get_feature_names_out(self, input_features: npt.ArrayLike | None = None) -> Any:
        """Return the encoder's names behind that of each pooling, such as ``mean_...0``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            What the encoder makes of it.

        Returns
        -------
        ndarray of str of shape (len(pooling) * n_features,)
        """
        check_is_fitted(self)
        inner = self.encoder_.get_feature_names_out(input_features)
        names = [f"{pooling}_{name}" for pooling in self.pooling for name in inner]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.encoder)
        tags.input_tags.two_d_array = inner.input_tags.two_d_array
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.target_tags.required = False
        tags.transformer_tags = inner.transformer_tags
        return tags
