"""A thousand calls of two visitors at once: are answers those given alone, and memory flat?

Writes docs/soak.md: python tests/soak/measure.py [--calls 1000] [--warm 200]
"""

import argparse
import datetime
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from security.serving import running_app
from soak.calls import LONG, Outcome, settle, soak
from toys import export_lora, write_tiny
from workbench.atomic import write_text

OUT = Path(__file__).parents[2] / "docs" / "soak.md"
EVERY = 20  # calls between two looks at the memory
MOST_GROWTH = 0.05  # of the app's memory, from the end of the warm-up to the end


def app_process() -> psutil.Process:
    """Return the process of the app that was started here."""
    found = [one for one in psutil.Process().children() if "serving.py" in str(one.cmdline())]
    assert len(found) == 1, found
    return found[0]


def growth(outcome: Outcome, warm: int) -> float:
    """Return by how much the memory grew after the first `warm` calls, as a share of it.

    The means of the first and the last quarter of the looks are compared: a single look may fall
    into an answer.
    """
    looks = [held for number, held in outcome.memory if number >= warm]
    quarter = max(1, len(looks) // 4)
    first, last = (sum(part) / len(part) for part in (looks[:quarter], looks[-quarter:]))
    return last / first - 1


def report(outcome: Outcome, num: int, warm: int) -> str:
    """Return the page of figures."""
    kinds = sorted({*outcome.equal, *(call.kind for call, _, _ in outcome.different)})
    wrong = {kind: sum(c.kind == kind for c, _, _ in outcome.different) for kind in kinds}
    answers = [f"| {kind} | {outcome.equal[kind]} | {wrong[kind]} |" for kind in kinds]
    step = max(1, len(outcome.memory) // 10)
    held = [f"| {number} | {bytes_ / 1e6:.0f} |" for number, bytes_ in outcome.memory[::step]]
    grown = growth(outcome, warm)
    lines = [
        "# A thousand calls of two visitors",
        "",
        f"Made by `make soak` on {datetime.date.today()}: {num} calls over HTTP in "
        f"{outcome.seconds:.0f} s to one app over a",
        "tiny model, by two visitors at once, each with rows, three trained adapters (lora, "
        "prompt_tuning,",
        "prefix_tuning) and an imported one. Each answer is compared, to the last digit of its "
        "probabilities, with",
        "the one the visitor got alone; seconds are left out. "
        f"Long answers have up to {LONG} tokens, and {outcome.cancelled} calls for",
        "one were left half-way.",
        "",
        "| call | equal answers | different answers |",
        "|---|---:|---:|",
        *answers,
        "",
        f"Resident memory of the app: from call {warm} on it changed by {100 * grown:+.1f} % "
        f"(at most {100 * MOST_GROWTH:.0f} % is",
        "allowed; mean of the last quarter of the looks over that of the first).",
        "",
        "| calls made | MB |",
        "|---:|---:|",
        *held,
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it, write the page, and return 1 if an answer differs or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--warm", type=int, default=200, help="calls before memory counts")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_tiny(folder / "tiny")
        lora = export_lora(model, folder / "lora")
        with running_app(folder / "runs", "public", model, scratch=folder) as address:
            people = [settle(address, f"soaker-{uuid.uuid4().hex}", lora, seed) for seed in (0, 1)]
            memory = app_process()
            outcome = soak(people, given.calls, lambda: memory.memory_info().rss, every=EVERY)
    page = report(outcome, given.calls, given.warm)
    write_text(given.out, page)
    sys.stdout.write(page)
    for call, answer, alone in outcome.different[:5]:
        sys.stdout.write(f"{call}\n  here  {answer[:600]}\n  alone {alone[:600]}\n")
    return int(bool(outcome.different) or growth(outcome, given.warm) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
