"""Images with opinions: the field's databases, one's own; and images generated from nothing.

Each ``load_...`` reads a database as its authors publish it, from a folder on this machine, and
returns what :func:`skiqa.model_selection.evaluate` takes. Nothing is downloaded.
"""

from skiqa.datasets._authentic import (
    load_agiqa3k,
    load_bid,
    load_biq2021,
    load_cid2013,
    load_clive,
    load_flive,
    load_koniq10k,
    load_spaq,
    load_uhd_iqa,
)
from skiqa.datasets._dead_leaves import make_dead_leaves
from skiqa.datasets._folder import load_folder
from skiqa.datasets._multiply_degraded import load_live_md, load_mdid
from skiqa.datasets._pairwise import load_pieapp, load_pipal
from skiqa.datasets._synthetic import (
    load_csiq,
    load_kadid10k,
    load_kadis700k,
    load_live,
    load_tid2008,
    load_tid2013,
)

__all__ = [
    "load_agiqa3k",
    "load_bid",
    "load_biq2021",
    "load_cid2013",
    "load_clive",
    "load_csiq",
    "load_flive",
    "load_folder",
    "load_kadid10k",
    "load_kadis700k",
    "load_koniq10k",
    "load_live",
    "load_live_md",
    "load_mdid",
    "load_pieapp",
    "load_pipal",
    "load_spaq",
    "load_tid2008",
    "load_tid2013",
    "load_uhd_iqa",
    "make_dead_leaves",
]
