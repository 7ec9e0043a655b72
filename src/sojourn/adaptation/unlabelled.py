"""Records of a hospital whose outcomes nobody has written down: what its history shows, and nothing else."""

import numpy as np

from sojourn.events.records import Subject
from sojourn.training.records import RecordReader


class UnlabelledReader(RecordReader):
    """Reads subjects as `RecordReader` does, but no target-only event, nor what is known only from one.

    A record that death or discharge does not end is then followed up to its last instant.
    """

    def subject(self, row: int) -> Subject:
        """What the store holds of one subject, without target-only events of the store or of the run."""
        whole = super().subject(row)
        shown = ~(self._is_store_target | self._is_target_only[self._code])[whole.code]
        seconds = whole.seconds[shown]
        follow_up = whole.follow_up_s
        if np.isfinite(follow_up):
            follow_up = float(seconds[-1]) if len(seconds) else 0.0
        return whole._replace(code=whole.code[shown], value=whole.value[shown], seconds=seconds, follow_up_s=follow_up)
