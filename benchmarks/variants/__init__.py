"""Other ways to build parts of the network, for `ablations.py`: what loses there must not clutter the package.

    bins      values as a categorical over bins, in place of a mixture of logistics
    causal    a small recurrent decoder inside the instant, in place of the sum of its earlier events
    per_event one position of the transformer for every event, in place of one for every instant

Each is a subclass of `sojourn.model.Network` with an exact likelihood of the same recorded cells: see `checks`.
`replace` puts one in the network's place while something is trained.
"""
