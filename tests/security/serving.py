"""An app over the tiny model in a process of its own: `python serving.py ROOT PROFILE MODEL PORT`.

It is launched as `workbench app` launches it, with the same options.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

START_SECONDS = 90
_AUDITED = Path(__file__).with_name("audited")
PROFILES = ("local", "public")


@contextmanager
def running_app(
    root: Path, profile: str, model: Path, *, scratch: Path, **environment: str
) -> Iterator[str]:
    """Run an app over a folder of runs; yield its address once it answers.

    Args:
        root: Folder of runs.
        profile: One of `PROFILES`.
        model: Folder of the base it offers.
        scratch: For its log and its temporary files.
        environment: Changes to the environment; `CROWD` has changes to the bounds on a crowd, as
            JSON.
    """
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    with (scratch / "app.log").open("a") as log:
        app = subprocess.Popen(
            [sys.executable, __file__, str(root), profile, str(model), str(port)],
            stdout=log,
            stderr=log,
            env=os.environ
            | ({"WORKBENCH_PUBLIC": "1"} if profile == "public" else {})  # for its jobs too
            | {
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
                "GRADIO_TEMP_DIR": str(scratch / "gradio"),
            }
            | environment,
        )
        try:
            _wait(address, app, scratch / "app.log")
            yield address
        finally:
            app.terminate()
            app.wait(30)


def audited(notes: Path) -> dict[str, str]:
    """Return an environment in which Python processes note whom they talk to beyond this machine.

    Beside the notes they keep a list of themselves, `<notes>.processes`.
    """
    notes.touch()
    path = os.pathsep.join(filter(None, [str(_AUDITED), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "WORKBENCH_AUDIT": str(notes)}


def _wait(address: str, app: "subprocess.Popen[bytes]", log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if app.poll() is not None:
            raise RuntimeError(f"the app ended with {app.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no page within {START_SECONDS} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _main(root: Path, profile: str, model: str, port: int) -> None:
    from workbench.startup import collect_rarely

    collect_rarely()

    from workbench.runs.experiment import Experiment
    from workbench.service.profile import Bound, Crowd, detect_profile
    from workbench.ui import app as page

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    page.keep_uploads_apart()
    chosen = detect_profile()
    assert chosen.is_public == (profile == "public"), chosen.name
    if "CROWD" in os.environ:
        changes = json.loads(os.environ["CROWD"])
        bounds = {
            key: Bound(*two) if isinstance(two, list) else two for key, two in changes.items()
        }
        chosen = replace(chosen, crowd=replace(chosen.crowd or Crowd(), **bounds))
    context = page.make_context(root, replace(chosen, models=(model,)))
    context.desk.warm(Experiment(model=model))
    app = page.build_app(context)
    app.launch(
        server_name="127.0.0.1", server_port=port, quiet=True, **page.launch_options(context)
    )


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
