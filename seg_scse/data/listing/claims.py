"""Which files of the folders are images and masks of which ids: each file goes to the one rule that means it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_scse.config.wording import counted
from seg_scse.data.files.signatures import holds_image, stem_of
from seg_scse.data.listing.folders import Contents, contents, leading_out
from seg_scse.data.listing.patterns import Rule, same_name
from seg_scse.data.listing.remarks import Remarks
from seg_scse.data.names import shown, some

_MOST_NAMED = 20

Files = dict[str, list[Path]]
"""Files of each id."""


@dataclass(frozen=True)
class Source:
    """A folder in which a rule looks for its files.

    Attributes:
        rule: which files are meant.
        folder: where they are.
        wanted: tells whether a file may be one of them.
    """

    rule: Rule
    folder: Path
    wanted: Callable[[Path], bool] = holds_image


def stem_below(path: Path, folder: Path) -> str:
    """Return the path below a folder without its extension, on one line, with `/` between the parts."""
    return shown(path.relative_to(folder).with_name(stem_of(path)).as_posix())


class Claims:
    """The files below some folders, each given to the source that means it most narrowly.

    Of several sources, the one in the deeper folder is meant, then the one with a pattern, then the longer suffix:
    `1_mask.png` is a mask, though any image beside it is an image too.

    Args:
        sources: of images and masks.
        remarks: files that two sources mean equally are problems; those that none means are noted.
        known: files that are read otherwise, such as annotation files.
    """

    def __init__(self, sources: Sequence[Source], remarks: Remarks, known: Iterable[Path] = ()) -> None:
        self._sources = sources
        self._contents: dict[Path, Contents] = {s.folder: contents(s.folder) for s in sources}
        self._files: list[Files] = [{} for _ in sources]
        claimed = self._claim(remarks)
        self._note_others(claimed | set(known), remarks)

    def files(self, source: Source) -> Files:
        """Return the files of a source by id."""
        return self._files[self._sources.index(source)]

    def names(self, source: Source) -> list[str]:
        """Return the names of all files below the folder of a source."""
        return [shown(path.name) for path in self._contents[source.folder].files]

    def empty_folders(self, source: Source) -> list[str]:
        """Return the paths below a source's folder of folders that hold nothing."""
        empty = (path.relative_to(source.folder).as_posix() for path in self._contents[source.folder].empty)
        return [shown(path) for path in empty if path != "."]

    def _claim(self, remarks: Remarks) -> set[Path]:
        claims: dict[Path, list[tuple[int, int, int, str]]] = {}
        for index, source in enumerate(self._sources):
            for path in self._contents[source.folder].files:
                id_ = source.rule.id_of(stem_below(path, source.folder))
                if id_ is not None and source.wanted(path):  # in this order: some files have to be opened
                    depth = len(source.folder.parts)
                    claims.setdefault(path, []).append((depth, source.rule.narrowness, index, id_))
        doubtful: dict[str, list[str]] = {}
        for path, rivals in claims.items():
            *_, index, id_ = best = max(rivals)
            equal = [rival for rival in rivals if rival[:2] == best[:2]]
            if len(equal) > 1:
                meanings = " and ".join(self._meaning(rival[2]) for rival in sorted(equal))
                doubtful.setdefault(meanings, []).append(shown(path.name))
            self._files[index].setdefault(id_, []).append(path)
        remarks.problems.extend(
            f"{counted(len(names), 'file', 'are')} both {meanings}: {some(names)}. Tell them apart by a "
            "suffix or a pattern."
            for meanings, names in doubtful.items()
        )
        return set(claims)

    def _meaning(self, index: int) -> str:
        rule = self._sources[index].rule
        return f"{rule.key} ({rule.name})" if rule.name else rule.key

    def _note_others(self, known: set[Path], remarks: Remarks) -> None:
        for folder, found in self._contents.items():
            names = [shown(path.name) for path in found.files if path not in known]
            known |= set(found.files)  # a folder inside another is not to say it again
            if names:
                others = counted(len(names), "other file")
                be = "is" if len(names) == 1 else "are"
                remarks.notes.append(f"{others} in {shown(folder)} {be} not read: {some(names)}")
            out = leading_out(folder, found.links)
            if out:
                remarks.notes.append(f"{counted(len(out), 'link', 'lead')} out of {shown(folder)}: {some(out)}")


def refuse_twins(source: Source, files: Files, many: bool, remarks: Remarks) -> None:
    """Add a problem where several files have one name, by extension or by the way Unicode writes it.

    Args:
        source: where they are.
        files: its files by id.
        many: whether one id may have many files.
        remarks: problems are added here.
    """
    where = shown(source.folder)
    doubles = [
        f"{id_}: {' and '.join(shown(path.relative_to(source.folder)) for path in sorted(paths))}"
        for id_, paths in sorted(files.items())
        if len(paths) > 1 and not many
    ]
    if doubles:
        named = "; ".join(doubles[:_MOST_NAMED])
        remarks.problems.append(
            f"{where}: {counted(len(doubles), 'name', 'belong')} to more than one file. Keep one of each: {named}"
        )
    spellings: dict[str, list[str]] = {}
    for id_ in sorted(files):
        spellings.setdefault(same_name(id_), []).append(id_)
    remarks.problems.extend(
        f"{where}: {' and '.join(map(ascii, ids))} are one name, {name}, written in two ways of Unicode. Rename one."
        for name, ids in spellings.items()
        if len(ids) > 1
    )
