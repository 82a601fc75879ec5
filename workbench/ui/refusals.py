"""What somebody is told for whom there is no room: one sentence, and when to come again."""

from dataclasses import dataclass

from starlette.responses import JSONResponse, PlainTextResponse, Response

_LATER_SECONDS = 10


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: Of HTTP.
        sentence: What is too much, how much is allowed, and what to do.
    """

    status: int
    sentence: str

    def answer(self, *, to_upload: bool) -> Response:
        """Return what is sent, in the form of which the page shows the sentence and nothing else.

        That is the text of an upload's answer, "detail" of a queued call's and "error" of others.
        """
        headers = {
            "Connection": "close",  # spares the server the rest of a body nobody will read
            "Retry-After": str(_LATER_SECONDS),
            "X-Content-Type-Options": "nosniff",
        }
        if to_upload:
            return PlainTextResponse(self.sentence, self.status, headers)
        content = {"detail": self.sentence, "error": self.sentence}
        return JSONResponse(content, self.status, headers)


def for_one(what: str, most: int, advice: str) -> Refusal:
    """Return the refusal of an address that has as much as one may have."""
    return Refusal(429, f"{what}: {most:,} are open from your address, the most for one. {advice}")


def for_all(what: str, most: int) -> Refusal:
    """Return the refusal of anybody, because all together have as much as there is."""
    return Refusal(503, f"{what}: all {most:,} of this server are taken. Try again in a minute.")
