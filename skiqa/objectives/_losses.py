"""The contrastive losses: positives of one class, with weights, or against a queue."""

import torch
from torch.nn import functional as F

from skiqa.objectives._common import at_least_float32


def nt_xent(projections, labels, temperature=0.1):
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
        log(n - 1) when all projections are equal. Lowest about mean_i log |P(i)|.

    Notes
    -----
    With zhat_i = z_i / |z_i|, s_ij = zhat_i . zhat_j / t and P(i) = {j != i: c(j) = c(i)},
    L = 1/n sum_i [log sum_{j != i} exp(s_ij) - 1/|P(i)| sum_{j in P(i)} s_ij]
    (Madhusudana et al., IEEE TIP 2022, eq. 2). O(n^2) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives._losses import nt_xent
    >>> round(float(nt_xent(torch.ones(8, 4), torch.zeros(8))), 4)  # log 7
    1.9459
    """
    return weighted_nt_xent(projections, labels[:, None] == labels[None, :], temperature)


def weighted_nt_xent(projections, weights, temperature=0.1):
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
        Never below the mean entropy of the rows of p.

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
    z = F.normalize(at_least_float32(projections), dim=1)
    with torch.autocast(z.device.type, enabled=False):  # else the products round to 8 bits
        s = torch.einsum("id,jd->ij", z, z) / temperature  # i, j = rows, d = projection
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    weights = weights.to(z.dtype).masked_fill(itself, 0.0)
    total = weights.sum(dim=1)
    paired = total > 0
    everyone = s.masked_fill(itself, -torch.inf).logsumexp(dim=1)
    attraction = (weights * s).sum(dim=1) / torch.where(paired, total, 1.0)
    return torch.where(paired, everyone - attraction, 0.0).sum() / paired.sum().clamp(min=1)


def info_nce(queries, positives, negatives, queue, temperature=0.2, own=None):
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
    q, p, v, m = (
        F.normalize(at_least_float32(x), dim=-1) for x in (queries, positives, negatives, queue)
    )
    with torch.autocast(q.device.type, enabled=False):  # else the products round to 8 bits
        attracted = torch.einsum("id,ipd->ip", q, p) / temperature
        repelled = torch.einsum("id,ivd->iv", q, v) / temperature
        earlier = torch.einsum("id,kd->ik", q, m) / temperature
    if own is not None:
        earlier = earlier.masked_fill(own, -torch.inf)
    others = torch.cat([repelled, earlier], dim=1)[:, None].expand(-1, p.shape[1], -1)
    everyone = torch.cat([attracted[:, :, None], others], dim=2).logsumexp(dim=2)
    return (everyone - attracted).mean()
