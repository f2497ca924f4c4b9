"""Fitting as the protocols need it: frozen features once for all fits, searches by content."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GroupKFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._five_crop import FiveCropRegressor
from skiqa._reference_difference import ReferenceDifference
from skiqa._types import Floats, Images, Integers

_T = TypeVar("_T")
Told: TypeAlias = list[tuple[type[Warning], str]]  # category and text of warnings


@contextlib.contextmanager
def features_cached(estimator: BaseEstimator, inputs: Iterable[Images]) -> Iterator[BaseEstimator]:
    """Yield a clone whose frozen encoders know the features of all inputs, while the block lasts.

    They are computed here, before any split: processes that split X would compute them each.
    """
    estimator = clone(estimator)
    with contextlib.ExitStack() as stack:
        for encoder, compute in _encoders_in_front(estimator):
            if encoder.epochs or encoder.weights is None:  # other features after each fit
                continue
            if encoder.cache_dir is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skiqa-"))
                encoder.set_params(cache_dir=folder)
            for X in inputs:
                compute(X)
        yield estimator


def _encoders_in_front(
    estimator: BaseEstimator,
) -> Iterator[tuple[ContrastiveQualityEncoder, Callable[[Images], object]]]:
    """Yield the encoders that meet X as it is, each with what computes its features of X."""
    if isinstance(estimator, ContrastiveQualityEncoder):
        yield estimator, lambda X: clone(estimator).fit(X).transform(X)
    elif isinstance(estimator, ReferenceDifference):
        for encoder, _ in _encoders_in_front(estimator.encoder):
            yield encoder, lambda X: clone(estimator).fit(X).transform(X)
    elif isinstance(estimator, FiveCropRegressor):
        for encoder, _ in _encoders_in_front(estimator.encoder):
            yield encoder, lambda X: clone(estimator).fit_encoder(X).crop_features(X)
    elif isinstance(estimator, Pipeline):
        yield from _encoders_in_front(estimator.steps[0][1])
    elif isinstance(estimator, FeatureUnion):
        for _, part in estimator.transformer_list:
            yield from _encoders_in_front(part)
    elif isinstance(estimator, TransformedTargetRegressor):
        yield from _encoders_in_front(estimator.regressor)
    elif isinstance(estimator, BaseSearchCV):
        yield from _encoders_in_front(estimator.estimator)


def fit_by_content(
    estimator: BaseEstimator,
    X: Images,
    y: npt.ArrayLike,
    groups: Integers,
    weights: Floats | None = None,
) -> tuple[BaseEstimator, dict[str, Any] | None]:
    """Fit a clone; a search in it splits by content. Returns it and what the search chose.

    A fold of a search holds two images or more, where there are four: one alone has no order.
    """
    estimator = clone(estimator)
    search, prefix = estimator, ""
    while isinstance(search, Pipeline):
        step, search = search.steps[-1]
        prefix += f"{step}__"
    if get_config()["enable_metadata_routing"]:
        prefix = ""
    params: dict[str, Any] = {} if weights is None else {f"{prefix}sample_weight": weights}
    if isinstance(search, BaseSearchCV):
        if search.cv is None or isinstance(search.cv, Integral):
            n_folds = min(search.cv or 5, len(np.unique(groups)), max(2, len(groups) // 2))
            search.set_params(cv=GroupKFold(n_folds))
        params[f"{prefix}groups"] = groups
    with warnings.catch_warnings():  # scikit-learn wants weights in testing, too
        warnings.filterwarnings("ignore", "The scoring .* does not support sample_weight")
        estimator.fit(X, y, **params)
    fitted = estimator
    while isinstance(fitted, Pipeline):
        fitted = fitted[-1]
    return estimator, getattr(fitted, "best_params_", None)  # of searches not scikit-learn's, too


def warnings_told(function: Callable[..., _T], *args: Any) -> tuple[_T, Told]:
    """Call a function; return its result, and its warnings instead of showing them."""
    if threading.current_thread() is not threading.main_thread():  # whose warnings, none can tell
        return function(*args), []
    with warnings.catch_warnings(record=True) as caught:
        result = function(*args)
    return result, [(warning.category, str(warning.message)) for warning in caught]


def warned_once(told: Iterable[tuple[_T, Told]], of_what: str) -> list[_T]:
    """Return results; of warnings that differ only in numbers show one, in a line, and how many."""
    told = list(told)
    kinds: dict[tuple[type[Warning], str], dict[int, str]] = {}
    for n, (_, of_one) in enumerate(told):
        for category, text in of_one:
            kinds.setdefault((category, re.sub(r"\d+", "0", text)), {}).setdefault(n, text)
    for (category, _), found in kinds.items():
        text = next(iter(found.values()))
        lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
        line = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
        warnings.warn(f"{line} ({len(found)} of {len(told)} {of_what})", category, stacklevel=4)
    return [result for result, _ in told]
