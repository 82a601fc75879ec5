"""Start the app as a Space would: `python tests/space/check.py`, in the environment of the Space.

Needs nothing but what requirements.txt installs. A copy of the committed files is started with a
Space's environment variables; page, interface and refusals are tried; the first failure ends it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError

ROOT = Path(__file__).parents[2]
VISITOR = "a-visitor-of-the-check"
START_SECONDS = 180


def main() -> int:
    """Run all checks; return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "space"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        card = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
        port = _free_port()
        log = (Path(scratch) / "log.txt").open("w+")
        app = subprocess.Popen(
            [sys.executable, card["app_file"]],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=_space_environment(port, scratch),
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, app, log)
            _check(address)
        except Exception:
            log.seek(0)
            sys.stdout.write(log.read()[-4000:])
            raise
        finally:
            app.terminate()
            app.wait(20)
    return 0


def _check(address: str) -> None:
    with urllib.request.urlopen(f"{address}/gradio_api/info") as answer:
        named = json.load(answer)["named_endpoints"]
    _say(f"page and interface answer; {len(named)} endpoints")
    client = Client(address, verbose=False, analytics_enabled=False)
    assert client.predict(visitor=VISITOR, api_name="/list_runs") == []
    _say("a visitor with a token sees an empty list of runs")
    for what, call in {
        "no token": {"api_name": "/list_runs"},
        "a base off the list": {
            "experiment": {"model": "someone/else"},
            "visitor": VISITOR,
            "api_name": "/start_evaluation",
        },
        "a path as a task": {
            "text": "x",
            "task": "../etc/passwd",
            "visitor": VISITOR,
            "api_name": "/ask",
        },
    }.items():
        try:
            client.predict(**call)
        except AppError as error:
            _say(f"refused, {what}: {str(error)[:90]}")
        else:
            raise AssertionError(f"{what} was not refused")
    try:
        answer = client.predict(text="My parcel never came", visitor=VISITOR, api_name="/ask")
        _say(f"answers: {[column['answer'] for column in answer['columns']]}")
    except AppError as error:  # no hub here and no packaged weights: a clear message, no crash
        if "the Hub is not reachable" not in str(error):
            raise
        _say(f"without a hub the base cannot be had, and it says so: {str(error)[:90]}")


def _space_environment(port: int, scratch: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HF_HUB_OFFLINE") if key in os.environ}
    return kept | {
        "SPACE_ID": "someone/workbench",
        "SPACE_HOST": "someone-workbench.hf.space",
        "SYSTEM": "spaces",
        "ACCELERATOR": "none",
        "CPU_CORES": "2",
        "MEMORY": "16Gi",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "HOME": scratch,
        "HF_HOME": f"{scratch}/hf",
        "GRADIO_TEMP_DIR": f"{scratch}/gradio",
        "MPLCONFIGDIR": f"{scratch}/matplotlib",
    }


def _wait(address: str, app: "subprocess.Popen[bytes]", log: object) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        assert app.poll() is None, "the app ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            _say(f"page after {time.monotonic() - began:.0f} s")
            return
    raise AssertionError("no page")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(text: str) -> None:
    sys.stdout.write(f"ok: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
