"""Losses in nats and paired differences of accuracy as people read them."""

import math
from dataclasses import replace

from workbench.differences import PairedDifference
from workbench.estimates import Estimate
from workbench.presentation.display import NOTHING, interval_text, points


def points_text(difference: PairedDifference | None) -> str:
    """Return a paired difference in percentage points: "+4.5 [+1.0, +8.0]"."""
    if difference is None:
        return NOTHING
    if difference.low is None:
        return points(difference.value)
    return f"{points(difference.value)} {interval_text(difference.low, difference.high, sign=True)}"


def nats_text(estimate: Estimate | None, *, sign: bool = False) -> str:
    """Return "3.0412 [2.9810, 3.1014]"; with `sign`, "+0.0412 [+0.0388, +0.0436]"."""
    return _figure_text(estimate, f"{'+' if sign else ''}.4f")


def perplexity_text(loss: Estimate) -> str:
    """Return the exponential of a loss in nats per token: "20.93 [19.71, 22.23]"."""
    value, low, high = (
        None if end is None else math.exp(end) for end in (loss.value, loss.low, loss.high)
    )
    return _figure_text(replace(loss, value=value, low=low, high=high), ".2f")


def _figure_text(estimate: Estimate | None, form: str) -> str:
    if estimate is None or estimate.value is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
