"""Where a call comes from."""

from gradio.context import LocalContext


def caller_address() -> str:
    """Return the network address of whoever called the handler that runs; "" where nobody did.

    It is what the server says, which a proxy may have set: no header is read here. Gradio keeps
    the request beside the call, so no handler needs it among its arguments, and no endpoint shows
    it among those of the programming interface.
    """
    client = getattr(LocalContext.request.get(None), "client", None)
    return str(getattr(client, "host", None) or "")
