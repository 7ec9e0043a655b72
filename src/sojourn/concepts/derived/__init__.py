"""Scores and onsets that follow from other events: SOFA, KDIGO, Sepsis-3 and what they are made of.

Every function maps a table of events to derived events and has its settings beside it. `SCORES` and `ONSETS` name all
of them; `derive_scores` and `derive_onsets` run several over one table.
"""

from sojourn.concepts.derived.registry import ONSETS, SCORES, derive_onsets, derive_scores

__all__ = ["ONSETS", "SCORES", "derive_onsets", "derive_scores"]
