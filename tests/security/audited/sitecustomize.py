"""Put on the path of a process, this notes every address beyond this machine that it talks to.

Beside the notes it keeps a list of the processes that kept them.
"""

import os
import sys

_LOG = os.environ["WORKBENCH_AUDIT"]
_HERE = ("127.", "::1", "0.0.0.0", "localhost")


def _note(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = (arguments[0], None)
    else:
        return
    # A text is a path of this machine, nothing a lookup of the own name.
    host = address[0] if isinstance(address, tuple) else None
    host = host.decode() if isinstance(host, bytes) else host
    if host is not None and not host.startswith(_HERE):
        with open(_LOG, "a") as log:
            log.write(f"{event} {address} in {sys.orig_argv}\n")


with open(f"{_LOG}.processes", "a") as processes:
    processes.write(f"{' '.join(sys.orig_argv)}\n")
sys.addaudithook(_note)
