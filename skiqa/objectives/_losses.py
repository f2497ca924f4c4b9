"""The contrastive losses: positives of one class, positives with weights, and a queue.

All are cross entropies of s, the cosines of rows over a temperature:

- :func:`nt_xent`: log sum_{j != i} exp(s_ij) - mean_{j in P(i)} s_ij, P(i) the others of i's class;
- :func:`weighted_nt_xent`: log sum_{j != i} exp(s_ij) - sum_{j != i} p_ij s_ij, p the weights of
  row i over their sum;
- :func:`info_nce`: log [exp(s+) + sum_v exp(s-_v) + sum_l exp(s_l)] - s+, of a query with its
  positive s+, its negatives s-_v, and the keys s_l of a queue.

Where all rows are equal, each is the logarithm of how many terms the sum has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from skiqa.objectives._common import at_least_float32


def nt_xent(projections: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the multi-positive normalised temperature-scaled cross entropy.

    The "out" form of the supervised contrastive loss, in float32 (float64 if that comes in).

    Parameters
    ----------
    projections : tensor of shape (n, d), n >= 2
        One row for each patch; normalised here.
    labels : int tensor of shape (n,)
        Rows of equal label attract, all others repel. A row without a partner adds nothing but
        its repulsion and is left out of the mean.
    temperature : float in (0, inf), default=0.1

    Returns
    -------
    tensor, scalar
        log(n - 1) when all projections are equal. Lowest about ``mean_i log |P(i)|``.

    Notes
    -----
    With ``zhat_i = z_i / |z_i|``, ``s_ij = zhat_i . zhat_j / t`` and
    ``P(i) = {j != i: c(j) = c(i)}``, the loss is
    ``1/n sum_i [log sum_{j != i} exp(s_ij) - 1/|P(i)| sum_{j in P(i)} s_ij]``
    (Madhusudana et al., IEEE TIP 2022, eq. 2). O(n^2) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives import nt_xent
    >>> round(float(nt_xent(torch.ones(8, 4), torch.zeros(8))), 4)  # log 7
    1.9459
    """
    return weighted_nt_xent(projections, labels[:, None] == labels[None, :], temperature)


def weighted_nt_xent(projections: Tensor, weights: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the temperature-scaled cross entropy whose positives have weights.

    In float32 (float64 if that comes in).

    Parameters
    ----------
    projections : tensor of shape (n, d), n >= 2
        Normalised here.
    weights : tensor of shape (n, n), >= 0, or bool
        How much row i is attracted to row j, relative to the others of the row; the diagonal is
        not looked at. A row of zeros is left out of the mean.
    temperature : float in (0, inf), default=0.1

    Returns
    -------
    tensor, scalar
        log(n - 1) when all projections are equal. Never below the mean entropy of the rows of p.

    Notes
    -----
    L = -1/n sum_i sum_{j != i} p_ij log [exp(s_ij) / sum_{k != i} exp(s_ik)], with s as in
    :func:`nt_xent` and p_ij = w_ij / sum_{k != i} w_ik. With weights of 0 and 1, the loss of
    CONTRIQUE. O(n^2) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives import weighted_nt_xent
    >>> round(float(weighted_nt_xent(torch.ones(8, 4), torch.rand(8, 8))), 4)  # log 7
    1.9459
    """
    z = _unit_length(projections)
    s = _similarities("id,jd->ij", z, z, temperature)  # i, j = rows, d = projection
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    weights = weights.to(z.dtype).masked_fill(itself, 0.0)
    total = weights.sum(dim=1)
    paired = total > 0
    everyone = s.masked_fill(itself, -torch.inf).logsumexp(dim=1)
    attraction = (weights * s).sum(dim=1) / torch.where(paired, total, 1.0)
    return torch.where(paired, everyone - attraction, 0.0).sum() / paired.sum().clamp(min=1)


def info_nce(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    queue: Tensor,
    temperature: float = 0.2,
    own: Tensor | None = None,
) -> Tensor:
    """Return the contrastive loss of queries with positives and negatives of their own and a queue.

    In float32 (float64 if that comes in).

    Parameters
    ----------
    queries : tensor of shape (n, d)
        All rows, here and below, are normalised here.
    positives : tensor of shape (n, p, d), p >= 1
        What each query is attracted to.
    negatives : tensor of shape (n, v, d), v >= 0
        What repels this query alone.
    queue : tensor of shape (k, d), k >= 0
        Keys of earlier steps, which repel all queries.
    temperature : float in (0, inf), default=0.2
    own : bool tensor of shape (n, k) or None, default=None
        Which keys of the queue are not to repel a query.

    Returns
    -------
    tensor, scalar
        log(1 + v + k) when all rows are equal.

    Notes
    -----
    With s(x) = q_n . x / t for the query q_n of n,
    L = 1/(n p) sum_n sum_p -log[exp s(k+_np) / (exp s(k+_np) + sum_v exp s(k-_nv)
    + sum_l exp s(m_l))]. With p = 1 and v = 0 it is InfoNCE as MoCo has it (He et al., CVPR 2020).
    O(n p (v + k)) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives import info_nce
    >>> q = torch.ones(2, 4)
    >>> float(info_nce(q, q[:, None], q[:, None], torch.ones(6, 4)))  # log(1 + 1 + 6)
    2.079...
    """
    q = _unit_length(queries)
    attracted = _similarities("id,ipd->ip", q, _unit_length(positives), temperature)
    repelled = _similarities("id,ivd->iv", q, _unit_length(negatives), temperature)
    earlier = _similarities("id,kd->ik", q, _unit_length(queue), temperature)
    if own is not None:
        earlier = earlier.masked_fill(own, -torch.inf)
    others = torch.cat([repelled, earlier], dim=1)[:, None].expand(-1, positives.shape[1], -1)
    everyone = torch.cat([attracted[:, :, None], others], dim=2).logsumexp(dim=2)
    return (everyone - attracted).mean()


def _unit_length(rows: Tensor) -> Tensor:
    return F.normalize(at_least_float32(rows), dim=-1)


def _similarities(pattern: str, x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Return products of rows of unit length, summed as `pattern` says, over the temperature."""
    with torch.autocast(x.device.type, enabled=False):  # else the products round to 8 bits
        return torch.einsum(pattern, x, y) / temperature
