"""Shared clinical concepts: which local codes mean the same thing, in which unit, and what a table must hold."""

from sojourn.concepts.annotate import annotate_codes, match_codes, name_codes
from sojourn.concepts.tables import code_concepts, concept_table

__all__ = ["annotate_codes", "code_concepts", "concept_table", "match_codes", "name_codes"]
