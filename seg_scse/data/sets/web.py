"""Opening web addresses: http, https and file only, never from https down to http, and failures told apart by cure."""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from seg_scse.data.names import shown
from seg_scse.errors import DataError

MAX_REDIRECTS = 5
SCHEMES = ("http", "https", "file")

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed."""

_PERSONAL = frozenset({401, 402, 403, 407})
"""Status codes of files that need an account, accepted terms or a click."""


class Unreliable(Exception):  # noqa: N818 - not an error yet: the request is made again
    """A failure that may pass.

    Attributes:
        wait: seconds the server asked to wait.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """What a server sends: status (200 for local files), headers, and the stream of the body."""

    status: int
    headers: Message
    stream: Any  # http.client.HTTPResponse, or of a local file urllib.response.addinfourl: both have read1

    @property
    def length(self) -> int | None:
        """Bytes of the body, as the server says."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    @property
    def ends_itself(self) -> bool:
        """A cut body is noticed without knowing its length."""
        return self.headers.get("Transfer-Encoding", "").lower() == "chunked"

    def blocks(self, most: int) -> Iterator[bytes]:
        """Yield the body in blocks of at most `most` bytes, as they come.

        Raises:
            Unreliable: the connection stalled or broke; what was yielded before is good.
        """
        try:
            while block := self.stream.read1(most):
                yield block
        except TimeoutError as error:
            raise Unreliable("the server stopped sending") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreliable(f"the connection broke ({type(error).__name__})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, but none that leaves encryption."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request."""
        fp.close()
        scheme = urlsplit(newurl).scheme
        if urlsplit(req.full_url).scheme == "https" and scheme != "https":
            raise DataError(
                f"{shown(req.full_url)}: redirects from https to {shown(newurl)}, which is not encrypted: refused. "
                "Use an address that stays on https."
            )
        if scheme not in ("http", "https"):
            raise DataError(f"{shown(req.full_url)}: redirects to {shown(newurl)}, which is no web address: refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def require_scheme(url: str) -> None:
    """Refuse addresses other than http, https and file.

    Raises:
        DataError: names the address and the schemes.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme not in SCHEMES:
        raise DataError(f"{shown(url)}: `{shown(scheme)}` is no scheme to download by; only {', '.join(SCHEMES)} are.")


def _wait(headers: Message | None) -> float:
    text = (headers or Message()).get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _refused(url: str, error: urllib.error.HTTPError) -> Exception:
    """Say what a status code means for the user."""
    answer = f"the server answers {error.code} ({error.reason})"
    if error.code in _PASSING:
        return Unreliable(answer, _wait(error.headers))
    if 300 <= error.code < 400:
        return DataError(f"{shown(url)}: redirects more than {MAX_REDIRECTS} times, in a circle, or to no web address.")
    why = "It needs an account or accepted terms" if error.code in _PERSONAL else "The address may have moved"
    return DataError(f"{shown(url)}: {answer}. {why}: get the file by hand.")


def _unreachable(url: str, error: OSError | http.client.HTTPException) -> Exception:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DataError(f"{shown(url)}: its certificate is not trusted ({reason.verify_message}): refused.")
    if urlsplit(url).scheme == "file":
        return DataError(f"{shown(url)}: cannot be read ({reason}). Check the path.")
    if isinstance(reason, socket.gaierror):  # a name that is not known now is not known a second later either
        return DataError(
            f"{shown(url)}: the name of its server cannot be resolved ({reason.strerror}). "
            "Check the address and the connection, or get the file by hand."
        )
    return Unreliable(f"cannot be reached ({reason or type(error).__name__})")


@contextmanager
def open_url(url: str, headers: Mapping[str, str], timeout: float) -> Iterator[Answer]:
    """Send a GET request and yield the answer with status 200, 206 or 416; the connection is closed afterwards.

    Args:
        url: http, https or file.
        headers: of the request.
        timeout: seconds without a byte after which the connection counts as broken.

    Raises:
        DataError: asking again makes no sense: no such file, no right to it, an unsafe redirect or certificate.
        Unreliable: asking again may help.
    """
    request = urllib.request.Request(  # noqa: S310 - the caller checked the scheme
        url, headers={"User-Agent": "seg-scse", "Accept-Encoding": "identity", **headers}
    )
    try:
        stream = urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            error.close()
            raise _refused(url, error) from error
        stream = error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error) from error
    with stream:
        yield Answer(getattr(stream, "status", None) or 200, stream.headers, stream)
