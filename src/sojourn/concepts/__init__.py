"""Shared clinical concepts: which local codes mean the same thing, and in which unit."""

from sojourn.concepts.annotate import annotate_codes
from sojourn.concepts.tables import code_concepts, concept_table

__all__ = ["annotate_codes", "code_concepts", "concept_table"]
