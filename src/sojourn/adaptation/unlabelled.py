"""Records of a hospital whose outcomes nobody has written down: what its history shows, and nothing else."""

from collections.abc import Sequence

import numpy as np

from sojourn.events.records import Subject
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.training.records import RecordReader


class UnlabelledReader(RecordReader):
    """Reads subjects as `RecordReader` does, but no target-only event, nor what is known only from one.

    A record that death or discharge does not end is then followed up to its last instant. `shown` are target-only codes
    of the model's vocabulary that stay, as they follow from what the history shows.
    """

    def __init__(
        self,
        store: EventStore,
        vocabulary: ModelVocabulary,
        sites: Sequence[str],
        shown: Sequence[int] = (),
    ) -> None:
        super().__init__(store, vocabulary, sites)
        is_hidden = self._is_store_target | self._is_target_only[self._code]
        self._is_hidden = is_hidden & ~np.isin(self._code, np.array(shown, dtype=np.int64))

    def subject(self, row: int) -> Subject:
        """What the store holds of one subject, without target-only events of the store or of the run."""
        whole = super().subject(row)
        shown = ~self._is_hidden[whole.code]
        seconds = whole.seconds[shown]
        follow_up = whole.follow_up_s
        if np.isfinite(follow_up):
            follow_up = float(seconds[-1]) if len(seconds) else 0.0
        return whole._replace(code=whole.code[shown], value=whole.value[shown], seconds=seconds, follow_up_s=follow_up)
