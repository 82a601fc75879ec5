"""Every architecture gives the numbers that transformers gives, or is refused in one message."""

import pytest
import torch

from architectures import ARCHITECTURES, save_tiny
from conformance import outcome_of
from make_architectures import TABLE, kinds_in_table


@pytest.mark.filterwarnings("ignore")  # of transformers' own code, which differ by architecture
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exact_or_refused(name, tmp_path):
    outcome = outcome_of(save_tiny(name, tmp_path / name))
    assert outcome.kind in {"exact", "refused"}, outcome.detail
    assert "\n" not in outcome.detail
    assert kinds_in_table(TABLE.read_text(encoding="utf-8"))[name] == outcome.kind


def test_every_architecture_is_in_the_table():
    assert set(kinds_in_table(TABLE.read_text(encoding="utf-8"))) == set(ARCHITECTURES)


def test_the_oracle_is_no_idle_one(tmp_path, monkeypatch):
    """A head that is off by a thousandth is found."""
    from workbench.models.forward import BaseForward

    right = BaseForward.logits
    monkeypatch.setattr(BaseForward, "logits", lambda self, hidden: right(self, hidden) * 1.001)
    monkeypatch.setattr("workbench.models.probe._LEAST_TOLERANCE", torch.inf)
    assert outcome_of(save_tiny("llama", tmp_path / "llama")).kind == "wrong"
