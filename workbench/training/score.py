"""How a step of a training, or a candidate of a search, did on dev, and which one is better."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DevScore:
    """A dev evaluation: accuracy and mean loss in nats over `num_items`.

    `accuracy` is None where answers are long texts, which no greedy decoding writes word for word;
    then the loss, per token, decides alone.

    `is_admissible` says whether a side condition of the method holds; a step that breaks it is
    kept only until the first one that does not.
    """

    accuracy: float | None
    loss: float
    num_items: int
    is_admissible: bool = True

    def better_than(self, other: "DevScore | None", highest: float = 0.0) -> bool:
        """Return whether this evaluation should replace `other` as the best.

        Accuracies within one standard error of the highest are a tie on so few items; then the
        lower loss decides (the one-standard-error rule of Breiman et al. 1984, section 3.4.3).

        Args:
            other: The best so far.
            highest: Accuracy seen so far, so that steps within a tie cannot lead down from it.
        """
        if other is None:
            return True
        if self.is_admissible != other.is_admissible:
            return self.is_admissible
        if self.accuracy is None or other.accuracy is None:
            return self.loss < other.loss
        highest = max(highest, self.accuracy, other.accuracy)
        # Never below 0 under the root: rounding may put the highest a hair above 1.
        tied = highest - math.sqrt(max(highest * (1 - highest), 0.0) / self.num_items)
        if self.accuracy < tied:
            return False
        return other.accuracy < tied or self.loss < other.loss
