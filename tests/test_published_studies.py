from pathlib import Path

import pytest

from seg_scse.study.publishing import recompute

STUDIES = sorted(path.parent for path in (Path(__file__).parents[1] / "benchmarks" / "studies").glob("*/study.json"))


def test_there_are_published_studies() -> None:
    assert STUDIES


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_table_of_a_published_study_follows_from_its_scores(folder: Path) -> None:
    content = recompute(folder)  # refuses where a number is not that of study.json
    names = [row["name"] for row in content["rows"]]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"\n{name} " not in text] == []
