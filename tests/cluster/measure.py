"""Hold a comparison made by a cluster of two nodes against that of one process.

`python tests/cluster/measure.py [arguments of workbench evaluate]`; without any it is the quick
comparison on the default base. Ends with an error if anything but times differs.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster.ray_nodes import ROOT, cluster, local, why_not
from cluster.reports import assert_equal, learned

_SECONDS = 7200.0  # for each of both


def main(arguments: list[str]) -> None:
    """Make it both ways, and say how long each took and what was compared."""
    if missing := why_not():
        sys.exit(f"no cluster here: {missing}")
    asked = arguments or [str(ROOT / "experiments" / "quick.yaml")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ray").mkdir()
        with cluster(folder / "ray") as nodes:
            nodes.add("head")
            nodes.add("second")
            began = time.perf_counter()
            code, said, errors = nodes.begin(*asked, "--out", folder / "there").end(_SECONDS)
            middle = time.perf_counter()
            if code:
                sys.exit(said + errors)
            alone = local([*asked, "--out", folder / "here"], nodes, seconds=_SECONDS)
            end = time.perf_counter()
        if alone[0]:
            sys.exit(alone[1] + alone[2])
        assert_equal(folder / "there", folder / "here")
        num_files = len(learned(folder / "there"))
        report = (folder / "there" / "report.md").read_text(encoding="utf-8")
    sys.stdout.write(
        f"{report}\n"
        f"Equal but for times: report.json, and {num_files} files of predictions and adapters byte "
        f"for byte. Two nodes of one thread each {middle - began:.0f} s, one process of one thread "
        f"{end - middle:.0f} s.\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
