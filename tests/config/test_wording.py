import pytest

from seg_scse.config.wording import counted


@pytest.mark.parametrize(
    ("number", "verb", "text"),
    [
        (0, "", "0 files"),
        (1, "", "1 file"),
        (2, "", "2 files"),
        (1, "are", "1 file is"),
        (2, "have", "2 files have"),
        (1, "have", "1 file has"),
        (1, "belong", "1 file belongs"),
    ],
)
def test_nouns_and_verbs_follow_the_number(number: int, verb: str, text: str) -> None:
    assert counted(number, "file", verb) == text
