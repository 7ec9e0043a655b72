"""Which unit a hospital records a concept in: declared, inferred from the values, or refused."""

from sojourn.concepts.units.dataset import infer_units

__all__ = ["infer_units"]
