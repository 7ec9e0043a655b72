"""Which weights are a site's own: the part of the network that knows how that hospital measures."""

from collections.abc import Iterable

import numpy as np

from sojourn.federated.messages import Tensors

PERSONAL = (
    "site.",
    "gap_head.adapter.",
    "code_head.adapter.",
    "code_head.site_bias.",
    "code_head.recency.own",
    "code_head.panel.own",
)
"""Beginnings of the names of the weights that never leave a site under FedFactor; rhythms of charting and what is
charted together among them."""

SITE_TABLE = "site.weight"
"""Weights with a row per site (row 0: the unknown site)."""


def is_personal(name: str) -> bool:
    """Whether a weight belongs to the policy part.

    Examples
    --------
    >>> is_personal("code_head.adapter.up.weight"), is_personal("backbone.layers.0.norm.weight")
    (True, False)
    """
    return name.startswith(PERSONAL)


def shared_names(names: Iterable[str], *, personal: bool) -> list[str]:
    """Names of the weights that travel, sorted."""
    return sorted(name for name in names if not (personal and is_personal(name)))


def own_rows_only(delta: Tensors, row: int) -> Tensors:
    """Keep of the change of the table of sites what this site knows: its own row and that of the unknown site.

    The optimiser's weight decay moves the other rows too, which is no knowledge.
    """
    if SITE_TABLE not in delta:
        return delta
    table = np.zeros_like(delta[SITE_TABLE])
    table[0], table[row] = delta[SITE_TABLE][0], delta[SITE_TABLE][row]
    return delta | {SITE_TABLE: table}
