"""Put on the path of a process, this notes every address beyond this machine that it talks to."""

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
            log.write(f"{event} {address} in {sys.argv[:1]}\n")


sys.addaudithook(_note)
