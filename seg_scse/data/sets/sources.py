"""The archives of a data set: at hand, downloaded, or described so that a person can fetch them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_scse.data.names import shown
from seg_scse.data.sets.archives import file_sha256
from seg_scse.data.sets.cards import Archive, Card, short_name
from seg_scse.data.sets.download import Known, Patience, download
from seg_scse.errors import DataError


@dataclass(frozen=True)
class Source:
    """An archive at hand.

    Attributes:
        path: the file.
        facts: what the card says about it; None for a file of another name that is taken for the whole data set.
    """

    path: Path
    facts: Archive | None


@dataclass
class Job:
    """One card and where its data are to be.

    Attributes:
        name: of the card, or path of its file.
        card: what it says.
        root: the user's folder.
        notes: what should be known about the result; grows.
    """

    name: str
    card: Card
    root: Path
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder that `prepare` makes."""
        return self.root / short_name(self.name)


def by_hand(name: str, card: Card, root: Path, missing: Sequence[Archive]) -> str:
    """Say what a person has to do: what to fetch from where, on which terms, where to put it, and how to go on."""
    steps = [f"Get {', '.join(archive.file for archive in missing) or 'the data'} from {card.source}."]
    steps[0] += f" {card.registration.rstrip('.')}." if card.registration else ""
    steps[0] += f" Licence: {card.licence.rstrip('.')}." + (f" {card.terms}" if card.terms else "")
    for archive in missing:
        checksum = next((f"{kind} {value}" for kind, value in _checksums(archive) if value), None)
        steps.append(f"Save it as {shown(root / archive.file)}" + (f" ({checksum})." if checksum else "."))
    steps += card.steps
    if not missing:
        steps.append(f"Put all of it into {shown(root / short_name(name))}.")
    command = f"seg-scse data prepare {shlex.quote(name)} --root {shlex.quote(str(root))}"
    steps.append(f"Repeat: {command}" + (" (add --archive FILE ... for files that lie elsewhere)." if missing else "."))
    return "\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1))


def _checksums(archive: Archive) -> list[tuple[str, str | None]]:
    return [("SHA-256", archive.sha256), ("MD5", archive.md5)]


def _facts(archive: Path, card: Card) -> Archive | None:
    """Tell which of the card's archives a file is: by its name, else by its content, else the only one."""
    named = next((facts for facts in card.archives if facts.file == archive.name), None)
    if named is not None or len(card.archives) == 1:
        return named or card.archives[0]
    known = {facts.sha256: facts for facts in card.archives if facts.sha256}
    return known.get(file_sha256(archive)) if known else None


def at_hand(job: Job, given: Sequence[Path]) -> list[Source]:
    """Return the archives that were named or lie in the root, in the card's order.

    Raises:
        DataError: several were named, and not all of them are the card's.
    """
    named = [Source(path, _facts(path, job.card)) for path in given]
    if any(source.facts is None for source in named):
        if len(named) > 1:
            strangers = ", ".join(shown(source.path) for source in named if source.facts is None)
            known = ", ".join(facts.file for facts in job.card.archives) or "none"
            raise DataError(
                f"--archive: {strangers}: not among the archives of card {job.name} ({known}). Name the file as there."
            )
        return named  # one file that holds everything
    found = {source.facts: source for source in named if source.facts}
    for facts in job.card.archives:
        path = job.root / facts.file
        if facts not in found and path.is_file():
            found[facts] = Source(path, facts)
    return [found[facts] for facts in job.card.archives if facts in found]


def completed(job: Job, sources: list[Source], allowed: bool, patience: Patience | None) -> tuple[list[Source], str]:
    """Download the archives that are missing, after making sure that all of them can be."""
    if any(source.facts is None for source in sources):
        return sources, "unpacked"
    there = {source.facts for source in sources}
    missing = [facts for facts in job.card.archives if facts not in there]
    if not missing and job.card.archives:
        return sources, "unpacked"
    closed = missing if not allowed else [facts for facts in missing if facts.url is None]
    if closed or not missing:
        names = ", ".join(facts.file for facts in closed) or job.card.marker
        why = "downloads are off" if not allowed and job.card.downloadable else "there is no direct link to it"
        hands = by_hand(job.name, job.card, job.root, closed)
        raise DataError(f"{job.name}: {names} is not in {shown(job.root)}, and {why}.\n{hands}")
    return [*sources, *(Source(_download(job, facts, patience), facts) for facts in missing)], "downloaded"


def _download(job: Job, facts: Archive, patience: Patience | None) -> Path:
    known = Known(facts.sha256, facts.md5, facts.bytes)
    try:
        return download(str(facts.url), job.root / facts.file, known, patience)
    except DataError as error:
        raise DataError(f"{error}\n{by_hand(job.name, job.card, job.root, [facts])}") from error
