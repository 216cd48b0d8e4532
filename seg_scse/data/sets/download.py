"""Downloads that go on where they were cut, and end as the whole and right file or as none.

A file counts as whole only when something says so: the length or the end that the server announced, the size or the
checksum on a card. The bytes so far lie beside the target as `NAME.partial` and are asked for no second time as long as
the server says, by ETag or time of change, that it still has the same file.
"""

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from tqdm import tqdm

from seg_scse.data.files.signatures import describe
from seg_scse.data.names import shown
from seg_scse.data.sets.archives import file_sha256
from seg_scse.data.sets.partial import Partial, partial_file, require_room
from seg_scse.data.sets.web import Answer, Unreliable, open_url, require_scheme
from seg_scse.errors import DataError

_BLOCK = 2**20
_TOLERANCE = 0.1  # of a declared size, which may be of an earlier release of the file
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Known:
    """What a card says about a file.

    Attributes:
        sha256: in hexadecimal.
        md5: in hexadecimal; looked at only where no SHA-256 is known.
        size: bytes, within 10 %.
    """

    sha256: str | None = None
    md5: str | None = None
    size: int | None = None

    @property
    def has_checksum(self) -> bool:
        """The content can be told from any other."""
        return bool(self.sha256 or self.md5)

    def problem(self, path: Path) -> str | None:
        """Say in what a file differs from what is known, or None where it does not.

        Raises:
            OSError: it cannot be read.
        """
        if self.has_checksum:
            actual = file_sha256(path)
            if self.sha256:
                return None if actual == self.sha256 else f"SHA-256 expected {self.sha256}, actual {actual}"
            found = _md5(path)
            return None if found == self.md5 else f"MD5 expected {self.md5}, actual {found} (SHA-256 {actual})"
        size = path.stat().st_size
        if self.size is not None and abs(size - self.size) > _TOLERANCE * self.size:
            return f"expected about {self.size} bytes, actual {size}"
        return None

    def require_sensible(self, url: str, size: int | None) -> None:
        """Refuse a file that is far larger than the card says.

        Raises:
            DataError: names both sizes.
        """
        if self.size is not None and size is not None and size > self.size * (1 + _TOLERANCE):
            raise DataError(f"{shown(url)}: has {size} bytes or more where {self.size} were expected: refused.")


@dataclass(frozen=True)
class Patience:
    """How long to go on with a bad connection.

    Attributes:
        timeout: seconds without a byte after which a connection counts as broken.
        tries: failures in a row that bring nothing new.
        pause: seconds before the second try; doubled each time, up to a minute.
    """

    timeout: float = 60.0
    tries: int = 5
    pause: float = 1.0


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _progress(partial: Partial, total: int | None) -> "tqdm[Never]":
    return tqdm(
        desc=shown(partial.target.name), total=total, initial=partial.size,
        unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False,
    )  # fmt: skip


def _receive(url: str, partial: Partial, known: Known, answer: Answer) -> None:
    """Append the body of an answer and prove that nothing is missing."""
    total = None if answer.length is None else partial.size + answer.length
    known.require_sensible(url, total)
    require_room(partial.target.parent, answer.length or 0)
    with _progress(partial, total) as bar:
        for block in answer.blocks(_BLOCK):
            partial.append(block)
            bar.update(len(block))
            known.require_sensible(url, partial.size)
    if total is not None and partial.size != total:
        raise Unreliable(f"cut off after {partial.size} of {total} bytes")
    if total is None and not (answer.ends_itself or known.has_checksum):
        partial.discard()
        raise DataError(
            f"{shown(url)}: the server does not say how long the file is, and no checksum is known: a cut file could "
            "not be told from a whole one. Get the file by hand."
        )


def _ask(url: str, partial: Partial, known: Known, timeout: float) -> None:
    """Send one request, for what is missing; on return all of it is there."""
    headers = partial.request(url, known.has_checksum)
    if partial.is_complete:
        return
    with open_url(url, headers, timeout) as answer:
        partial.take(url, answer)
        if not partial.is_complete:
            _receive(url, partial, known, answer)


def _fetch(url: str, partial: Partial, known: Known, patience: Patience) -> None:
    """Ask until the file is whole, or a number of requests in a row brought nothing new."""
    failures, furthest = 0, partial.size
    while True:
        try:
            return _ask(url, partial, known, patience.timeout)
        except Unreliable as failure:
            gained, furthest = partial.size - furthest, max(furthest, partial.size)
            failures = 1 if gained >= _BLOCK else failures + 1
            if failures >= patience.tries:
                kept = f"{partial.size} bytes are kept, and the same command goes on from there. " * bool(partial.size)
                reason = f"{failure}, {failures} times in a row"
                raise DataError(f"{shown(url)}: {reason}. {kept}Try again later, or get the file by hand.") from failure
            wait = max(failure.wait, patience.pause * 2 ** (failures - 1))
            tqdm.write(f"{shown(partial.target.name)}: {failure}; trying again", file=sys.stderr)
            time.sleep(min(wait, _LONGEST_PAUSE))


def _refuse_page(url: str, partial: Partial, known: Known) -> None:
    kind = describe(partial.start())
    if not kind.startswith(("an HTML page", "a Git LFS pointer")):
        return
    kind = "an HTML page (login or error page?)" if kind.startswith("an HTML page") else kind
    expected = f" instead of SHA-256 {known.sha256}" if known.sha256 else ""
    partial.discard()
    raise DataError(f"{shown(url)}: sends {kind}{expected}; it was removed. Get the file by hand.")


def download(url: str, target: Path, known: Known | None = None, patience: Patience | None = None) -> Path:
    """Download a file, or what is missing of it, and check it.

    Args:
        url: http, https or file.
        target: where the file comes to be, once it is whole and right; its folder is made.
        known: what the file must be.
        patience: how long to go on with a bad connection.

    Returns:
        `target`.

    Raises:
        DataError: not reachable, no right to it, an HTML page in its place, far too large, or twice the wrong content;
            the message names the address and the expected and actual SHA-256. A wrong file is removed; a cut one stays
            beside the target, and the next call goes on with it.
        WriteError: the folder cannot be written, or the disk is or would be full.
    """
    known, patience = known or Known(), patience or Patience()
    require_scheme(url)
    with partial_file(target) as partial:
        for _ in range(2):
            _fetch(url, partial, known, patience)
            _refuse_page(url, partial, known)
            problem = known.problem(partial.path)
            if problem is None:
                partial.commit()
                return target
            partial.discard()
    raise DataError(f"{shown(url)}: sends another file than expected: {problem}; it was removed. Get the file by hand.")
