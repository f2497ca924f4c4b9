"""Training objectives, one file for each paper.

An objective is a scikit-learn estimator of parameters only. A class of one's own with these methods
can be given to the encoder as ``objective``:

- ``window_size(view_size)``: the side of the square that is cut from each photo.
- ``views(windows, indices, authentic, seeds, view_size)``: from windows (n, 3, s, s) in [0, 1],
  which photos they are, whether degraded by life (1 yes, 0 no, -1 unknown), and a seed each, from
  which all that is random follows, to ``(views, labels)``. Views (v * n, 3, view_size, view_size):
  the first of all photos, then the second of all, and so on. Labels (n, ...): a row for each photo.
- ``pool(maps)``: from the network's last maps of any views, (m, c, h, w), to rows for the
  projector, (m * p, d), those of one view together.
- ``head(n_features)``: the projector, a module.
- ``loss(projections, labels)``: a scalar, from the projections of all views.
- ``defaults_scratch``, ``defaults_pretrained``: values of `batch_size`, `view_size`,
  `learning_rate` and `weight_decay`; ``learning_rate_batch``: photos a step, of these rates.

One with a momentum encoder also has the attributes ``queue_size`` and ``momentum``. Its views are a
pair (queries, keys), both laid out as above, each view one row, and its loss is
``loss(projections, labels, keys, queue, queue_labels)``: keys of this step and, with their photo's
label, those of earlier ones.
"""

from skiqa.objectives._losses import info_nce, nt_xent, weighted_nt_xent
from skiqa.objectives.arniqa import Arniqa
from skiqa.objectives.contrique import Contrique
from skiqa.objectives.qpt import Qpt
from skiqa.objectives.reiqa import Reiqa
from skiqa.objectives.weighted import Weighted

OBJECTIVES = {
    "arniqa": Arniqa,
    "contrique": Contrique,
    "qpt": Qpt,
    "reiqa": Reiqa,
    "weighted": Weighted,
}

__all__ = [
    "OBJECTIVES",
    "Arniqa",
    "Contrique",
    "Qpt",
    "Reiqa",
    "Weighted",
    "info_nce",
    "nt_xent",
    "weighted_nt_xent",
]
