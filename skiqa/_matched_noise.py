"""Semantic noise: how features differ between samples of equal quality and other content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve

from skiqa._types import Floats, Integers

if TYPE_CHECKING:
    import torch

_BLOCK = 2**21  # numbers that a block of rows holds: 16 MB in double precision


def matched_pairs(
    X: Floats,
    y: npt.ArrayLike,
    *,
    tolerance: float = 0.05,
    n_candidates: int = 8,
    groups: npt.ArrayLike | None = None,
    y_std: npt.ArrayLike | None = None,
    sample_weight: Floats | None = None,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Give every sample a partner of nearly equal y and distant features.

    The order of the samples decides nothing, and equal ones count as one of their joint weight.

    Parameters
    ----------
    X : float array of shape (n_samples, n_features)
    y : array of shape (n_samples,)
        Quality.
    tolerance : float in (0, 1], default=0.05
        How far the y of a pair may lie apart, in quantiles of y.
    n_candidates : int in [1, inf), default=8
        How many samples, spread evenly over the tolerance, are looked at; the one with the most
        distant features, each in units of its standard deviation, becomes the partner.
    groups : array of shape (n_samples,) or None, default=None
        Samples of one group share their content and are never matched.
    y_std : array of shape (n_samples,) or None, default=None
        Standard deviation of each y, in units of y.
    sample_weight : array of shape (n_samples,) or None, default=None
        How many times each sample stands there, above 0. None: once.

    Returns
    -------
    partners : intp array of shape (n_samples,)
        Index of the partner.
    weights : float64 array of shape (n_samples,)
        Weights of the pairs: that of the sample, times the product, in [0, 1], of the reliabilities
        of their two y, which is ``Var(quality) / (Var(quality) + y_std**2)``; 0 where there is no
        partner.

    Raises
    ------
    ValueError
        If no sample has a partner, or `y_std` leaves nothing of the spread of y.

    Notes
    -----
    ``O(n_samples * n_features * n_candidates)`` time and memory of a few MB: no distance is
    computed that is not looked at. No random numbers are drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._matched_noise import matched_pairs
    >>> X = np.array([[0.0], [5.0], [1.0], [0.0], [9.0]])
    >>> matched_pairs(X, [1, 1, 1, 2, 2])[0]
    array([1, 0, 1, 4, 3])
    """
    X, y = np.asarray(X), np.asarray(y, np.float64)
    mass = np.ones(len(y)) if sample_weight is None else sample_weight
    reliability = _reliabilities(y, y_std, mass)
    order, number = _distinct(X, y, groups, y_std)
    n, sorted_y, weight = len(order), y[order], np.bincount(number, mass)
    # equal y are at one quantile, the middle of theirs
    first, last = (np.searchsorted(sorted_y, sorted_y, side) for side in ("left", "right"))
    below = np.append(0.0, np.cumsum(weight))
    quantile = (below[first] + below[last]) / (2 * below[-1])
    low = np.searchsorted(quantile, quantile - tolerance)
    high = np.searchsorted(quantile, quantile + tolerance, side="right")
    place = np.arange(n)
    alone = high - low < 2  # few samples: the next ones in y, whatever the tolerance
    low = np.where(alone, np.maximum(place - 1, 0), low)
    high = np.where(alone, np.minimum(place + 2, n), high)

    width = high - low
    n_candidates = min(n_candidates, int(width.max()) - 1)
    scale = _inverse(np.sqrt(moments(X, sample_weight=sample_weight).variance)).astype(X.dtype)
    partners, farthest = place.copy(), np.full(n, -1.0)
    for k in range(n_candidates):
        step = 1 + k * (width - 1) // n_candidates  # 1..width - 1: never the sample itself
        candidate = low + (place - low + step) % width
        distance = np.empty(n)
        for rows in blocks(X):  # those behind the last distinct one are empty
            difference = (X[order[rows]] - X[order[candidate[rows]]]) * scale
            distance[rows] = np.einsum("ij,ij->i", difference, difference)
        if groups is not None:
            distance[np.asarray(groups)[order] == np.asarray(groups)[order[candidate]]] = -1
        nearer = distance <= farthest
        partners = np.where(nearer, partners, candidate)
        farthest = np.where(nearer, farthest, distance)
    result = order[partners][number]
    found = (farthest >= 0)[number] | (n == 1 and groups is None)  # all equal: nothing differs
    weights = mass * reliability * reliability[result] * found
    if not weights.any():
        raise ValueError(
            f"No two samples of different groups have a y within tolerance={tolerance} (quantiles "
            "of y) among the candidates: raise tolerance or n_candidates, or leave groups out."
        )
    return result, weights


def _distinct(
    X: Floats, y: Floats, *others: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return one index for each distinct sample, by rising y, and the number of each sample's.

    Where y is equal digests decide, so that the order of the samples does not.
    """
    columns = [np.unique(other, return_inverse=True)[1] for other in others if other is not None]
    labels = np.stack([*columns, np.zeros(len(y), np.intp)], axis=1)
    hashed = (
        hashlib.blake2b(row.tobytes() + label.tobytes(), digest_size=8).digest()
        for row, label in zip(X, labels, strict=True)
    )
    digest = np.array([int.from_bytes(h) for h in hashed], np.uint64)
    order = np.lexsort((digest, y))
    new = np.append(True, (np.diff(y[order]) != 0) | (np.diff(digest[order]) != 0))
    number = np.empty(len(y), np.intp)
    number[order] = np.cumsum(new) - 1
    return order[new], number


def _reliabilities(
    y: npt.NDArray[np.float64], y_std: npt.ArrayLike | None, mass: Floats
) -> npt.NDArray[np.float64]:
    if y_std is None:
        return np.ones(len(y))
    errors = np.square(np.asarray(y_std, np.float64))
    error = np.average(errors, weights=mass)
    spread = np.average(np.square(y - np.average(y, weights=mass)), weights=mass)
    quality = spread - error
    if quality <= 0:
        raise ValueError(
            f"The mean square of y_std, {error:.3g}, is not below the variance of y, "
            f"{spread:.3g}: then y says nothing about quality. y_std is in units of y."
        )
    return quality / (quality + errors)


def blocks(X: Floats) -> Iterator[slice]:
    """Yield slices over the rows of X, each small enough to copy."""
    size = max(1, _BLOCK // X.shape[1])
    for start in range(0, len(X), size):
        yield slice(start, min(start + size, len(X)))


class Moments(NamedTuple):
    """Mean and variance of each feature, and its covariance with y, in float64."""

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]


def moments(X: Floats, y: Floats | None = None, sample_weight: Floats | None = None) -> Moments:
    """Return the moments of features (n_samples, n_features); the covariance is 0 without y."""
    n, d = X.shape
    share = np.full(n, 1 / n) if sample_weight is None else sample_weight / sample_weight.sum()
    mean, variance, covariance = np.zeros(d), np.zeros(d), np.zeros(d)
    for rows in blocks(X):
        mean += share[rows] @ X[rows]
    centered_y = np.zeros(n) if y is None else np.asarray(y, np.float64) - share @ y
    for rows in blocks(X):
        centered = X[rows] - mean
        variance += np.einsum("i,ij,ij->j", share[rows], centered, centered)
        covariance += (share * centered_y)[rows] @ centered
    # rounding of the mean alone: the feature is constant
    variance[variance <= (16 * np.finfo(X.dtype).eps * np.abs(mean)) ** 2] = 0
    covariance[variance == 0] = 0
    return Moments(mean, variance, covariance)


def _inverse(values: Floats) -> Floats:
    """Return 1 / values, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def noise_ratio(X: Floats, y: Floats, partners: Integers, weights: Floats) -> Floats:
    """Return the share of semantic noise in each feature: N / (N + Q).

    N is the scatter of the matched differences, half their mean square: what moves at equal
    quality. Q is the scatter of quality: the variance of the feature's best line in y.

    Parameters
    ----------
    X : float array of shape (n_samples, n_features)
    y : array of shape (n_samples,)
    partners, weights : arrays of shape (n_samples,)
        What :func:`matched_pairs` gives.

    Returns
    -------
    float64 array of shape (n_features,)
        In [0, 1]; 1 for a constant feature, which says nothing of quality.
    """
    noise = np.zeros(X.shape[1])
    for rows in blocks(X):
        difference = X[rows] - X[partners[rows]]
        noise += (weights[rows] / weights.sum() / 2) @ np.square(difference, dtype=np.float64)
    variance = np.var(y)
    quality = np.zeros_like(noise)
    if variance:
        quality = np.square(moments(X, y).covariance) / variance
    total = noise + quality
    return np.where(quality > 0, noise * _inverse(total), 1.0)


def penalized_weights(
    X: Floats,
    y: Floats,
    partners: Integers,
    penalties: Floats,
    alpha: float,
    sample_weight: Floats | None = None,
) -> npt.NDArray[np.float64]:
    """Return argmin |y - Xw|**2 + alpha |w|**2 + sum(penalties * ((X - X[partners]) @ w)**2).

    X is centered on the way; the first term counts each sample by its weight.
    """
    n, d = X.shape
    mean, roots = moments(X, sample_weight=sample_weight).mean, np.sqrt(penalties)
    of_sample = np.ones(n) if sample_weight is None else np.sqrt(sample_weight)
    y = y * of_sample

    def samples(rows: slice) -> Floats:
        return ((X[rows] - mean) * of_sample[rows, None]).astype(X.dtype)

    def differences(rows: slice) -> Floats:
        return ((X[rows] - X[partners[rows]]) * roots[rows, None]).astype(X.dtype)

    if d <= 2 * n:
        gram, projected = np.zeros((d, d)), np.zeros(d)
        for rows in blocks(X):
            block = samples(rows)
            gram += block.T @ block
            projected += y[rows] @ block
            if penalties.any():
                block = differences(rows)
                gram += block.T @ block
        gram.flat[:: d + 1] += alpha
        return solve(gram, projected, assume_a="pos", overwrite_a=True)
    # fewer samples than features: the same, by the matrix of products between samples
    stacked, target = samples(slice(None)), y
    if penalties.any():
        stacked = np.concatenate([stacked, differences(slice(None))])
        target = np.concatenate([y, np.zeros(n)])
    gram = (stacked @ stacked.T).astype(np.float64)
    gram.flat[:: len(gram) + 1] += alpha
    return solve(gram, target, assume_a="pos", overwrite_a=True) @ stacked


def adversarial_gates(
    X: Floats,
    y: Floats,
    partners: Integers,
    weights: Floats,
    *,
    strength: float,
    n_steps: int,
    learning_rate: float,
    batch_size: int,
    generator: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Train gates in (0, 1) with which a linear prediction withstands the worst matched noise.

    Noise is added to a sample feature by feature: a share of its difference to the partner, each
    feature's share anywhere in [0, `strength`]. The worst shares move all terms of the prediction
    the same way, so they need no search: what the prediction moves is `strength` times the larger
    of the sums of its positive and of its negative terms.

    Parameters
    ----------
    X, y, partners, weights : arrays
        As in :func:`noise_ratio`.
    strength : float in [0, inf)
    n_steps : int
        Steps of Adam.
    learning_rate : float
        Of the gates' logits; weights move at the same rate, relative to their mean size.
    batch_size : int
        Samples a step; all, where there are no more.
    generator : numpy.random.Generator
        Draws batches where there are more.

    Returns
    -------
    gates : float64 array of shape (n_features,)
    loss_curve : list of float
        Loss of each step: mean squared error, in units of Var(y), plus the mean square that the
        worst noise moves.
    """
    import torch

    samples = _StandardisedSamples(X, y, partners, weights, batch_size, generator)
    batch = samples.draw()
    logit = torch.full((X.shape[1],), 2.0)  # gates nearly open, and free to move
    weight = _ridge_weights(batch.features, batch.target) / torch.sigmoid(logit)
    pace = learning_rate * max(float(weight.abs().mean()), 1e-12)
    logit.requires_grad_()
    weight.requires_grad_()
    optimizer = torch.optim.Adam(
        [{"params": [logit], "lr": learning_rate}, {"params": [weight], "lr": pace}]
    )
    loss_curve = []
    for step in range(n_steps):
        if step and not samples.in_one_batch:
            batch = samples.draw()
        gated = weight * torch.sigmoid(logit)
        terms = batch.noise * gated
        rises = terms.clamp(min=0).sum(1)
        moved = strength * torch.maximum(rises, rises - terms.sum(1))
        error = (batch.features @ gated - batch.target).square().mean()
        of_pair = batch.weights
        loss = error + (of_pair * moved.square()).sum() / of_pair.sum().clamp(min=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_curve.append(float(loss.detach()))
    gates = torch.sigmoid(logit).detach().numpy().astype(np.float64)
    return np.where(samples.varies, gates, 0.0), loss_curve


class _Batch(NamedTuple):
    """Standardised features, the noise matched to them, standardised y, and weights of pairs."""

    features: torch.Tensor
    noise: torch.Tensor
    target: torch.Tensor
    weights: torch.Tensor


class _StandardisedSamples:
    """Samples from which batches are drawn; parameters as in :func:`adversarial_gates`.

    Attributes
    ----------
    varies : bool array of shape (n_features,)
        Which features are not constant.
    in_one_batch : bool
        Whether every batch holds all samples.
    """

    def __init__(
        self,
        X: Floats,
        y: Floats,
        partners: Integers,
        weights: Floats,
        batch_size: int,
        generator: np.random.Generator,
    ) -> None:
        self.X, self.partners, self.weights = X, partners, weights
        self.batch_size, self.generator = batch_size, generator
        self.mean, variance, _ = moments(X)
        self.scale = _inverse(np.sqrt(variance))
        spread = np.std(y)
        self.target = (np.asarray(y, np.float64) - np.mean(y)) / (spread if spread else 1.0)
        self.varies = variance > 0
        self.in_one_batch = len(X) <= batch_size

    def draw(self) -> _Batch:
        import torch

        X, rows = self.X, np.arange(len(self.X))
        if not self.in_one_batch:
            rows = self.generator.choice(len(X), self.batch_size, replace=False)
        features = (X[rows] - self.mean) * self.scale
        noise = (X[self.partners[rows]] - X[rows]) * self.scale
        arrays = features, noise, self.target[rows], self.weights[rows]
        return _Batch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))


def _ridge_weights(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return those of a ridge whose penalty is 0.3 times the mean square norm of a sample."""
    import torch

    gram = features @ features.T
    gram += 0.3 * gram.diagonal().mean().clamp(min=1e-6) * torch.eye(len(gram))
    return features.T @ torch.linalg.solve(gram, target)
