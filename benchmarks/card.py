"""One check of a graphics card: real sizes in NF4 against the tools people know, in one call.

    python benchmarks/card.py              # 1B, 4B and 8B on a card, within twelve minutes
    python benchmarks/card.py --tiny       # the same paths on a processor, in about two minutes

Bases have published shapes and random weights. Each part runs in a process of its own with a limit
of its own; one that fails or takes too long becomes a row that says so, and the next one begins.
Rows are written as they come: lines of JSON in $OUT/card.jsonl (or --rows), and a table on the
terminal. Without lm-eval installed its row says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from card_bases import PUBLISHED
from measuring import Figure

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# In their order, with the most seconds each may take: bases are loaded anew in every process.
LIMITS: Mapping[str, int] = {
    "make": 120,
    "decode": 120,
    "training": 120,
    "scoring": 120,
    "memory": 90,
}
_LEAST_SECONDS = 20.0  # a part is not begun with less
_COLUMNS = "| what | ratio | single repeats | target | measured |\n|---|---|---|---|---|"
_PARTS = Path(__file__).with_name("card_parts.py")


@dataclass
class Check:
    """One call: where rows go, and when it has to end.

    Attributes:
        rows: File for lines of JSON.
        device: "cpu" or "cuda".
        size: "published" or "tiny".
        ends: Of `time.monotonic`.
    """

    rows: Path
    device: str
    size: str
    ends: float

    def run(self, shape: str, parts: Sequence[str]) -> None:
        """Run the parts of a shape; nothing else is run where its base could not be made."""
        with tempfile.TemporaryDirectory(prefix="card-") as folder:
            for part in parts:
                outcome = self._run_part(part, shape, Path(folder) / shape)
                if outcome is None:
                    continue
                self._note({"shape": shape, "part": part, "device": self.device, "failed": outcome})
                print(f"| {shape}: {part} |  |  | not measured | {outcome} |", flush=True)
                if part == "make":
                    return

    def _run_part(self, part: str, shape: str, folder: Path) -> str | None:
        """Run one part and print its rows; return why there are not all of them, if so."""
        left = self.ends - time.monotonic()
        if left < _LEAST_SECONDS:
            return "no time was left"
        if part == "scoring" and find_spec("lm_eval") is None:
            return "lm-eval is not installed: pip install --no-deps lm-eval==0.4.13"
        seconds, known = min(LIMITS[part], left), len(self.lines())
        command = [sys.executable, str(_PARTS), part, shape, str(folder), self.device]
        command += [str(self.rows), self.size]
        done: subprocess.CompletedProcess[str] | None = None
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False
            )
        for line in self.lines()[known:]:
            print(_figure(line).row(), flush=True)
        if done is None:
            return f"stopped after {seconds:.0f} s"
        return None if done.returncode == 0 else _last_line(done.stderr)

    def lines(self) -> list[dict[str, Any]]:
        """Return the rows so far."""
        if not self.rows.is_file():
            return []
        return [json.loads(line) for line in self.rows.read_text(encoding="utf-8").splitlines()]

    def _note(self, content: Mapping[str, object]) -> None:
        with self.rows.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(content) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; return 1 where a part failed."""
    given = _parser().parse_args(arguments)
    device = given.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    size = "tiny" if given.tiny else "published"
    check = Check(Path(given.rows), device, size, began + 60 * given.minutes)
    check.rows.unlink(missing_ok=True)
    print(f"{_machine(device)}; {size} shapes\n\n{_COLUMNS}", flush=True)
    for shape in given.shapes.split(","):
        check.run(shape, ["make", *(part for part in given.parts.split(",") if part != "make")])
    failed = [line for line in check.lines() if "failed" in line]
    print(f"\nTook {time.monotonic() - began:.0f} s; {len(failed)} parts were not measured.")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default=",".join(PUBLISHED), help="default: %(default)s")
    parser.add_argument("--parts", default=",".join(LIMITS), help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="tiny bases of the same architectures")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--minutes", type=float, default=12.0, help="default: %(default)s")
    rows = Path(os.environ.get("OUT", ".")) / "card.jsonl"
    parser.add_argument("--rows", default=str(rows), help="file for JSON; default: %(default)s")
    return parser


def _machine(device: str) -> str:
    card = torch.cuda.get_device_name() if device == "cuda" else "no card"
    return f"{card}, {os.cpu_count()} cores, torch {torch.__version__}"


def _figure(line: Mapping[str, Any]) -> Figure:
    return Figure(**{name: line[name] for name in Figure.__dataclass_fields__})


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


if __name__ == "__main__":
    sys.exit(main())
