import pytest

from seg_scse.report import wording


@pytest.mark.parametrize(("number", "text"), [(1, "1 image"), (0, "0 images"), (12345, "12\u202f345 images")])
def test_counts_are_grouped_and_plural(number, text):
    assert wording.count(number, "image") == text


@pytest.mark.parametrize(
    ("parts", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")]
)
def test_lists_are_joined_in_words(parts, text):
    assert wording.joined(parts) == text
