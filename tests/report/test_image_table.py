import json

import pytest

from seg_scse.report import image_table as tables
from seg_scse.report.image_table import ImageTable, Number, View, image_table
from seg_scse.report.per_image import read_per_image
from seg_scse.report.reading import read_results
from seg_scse.report.rendering import embedded_json


def table_of(folder) -> ImageTable:
    results = read_results(folder / "results.json")
    return image_table(results, read_per_image(folder / "per_image.csv", results))


def small(ascending: bool = True) -> ImageTable:
    texts = (("Image", ("a", "b", "c", "d")),)
    values = ((0.25, None, 0.125, 0.25),)
    return ImageTable(texts, (Number("Dice"),), (View("foreground", values),), sort=0, ascending=ascending)


@pytest.mark.parametrize(("ascending", "order"), [(True, "cadb"), (False, "adcb")])
def test_first_rows_are_sorted_and_unscored_images_come_last(ascending, order):
    rows = small(ascending).first()
    assert "".join(texts[0] for texts, _ in rows) == order
    assert rows[-1] == (["b"], ["n/a"])


def test_first_rows_are_few_and_all_are_in_the_data(monkeypatch):
    monkeypatch.setattr(tables, "FIRST_ROWS", 2)
    assert len(small().first()) == 2
    assert small().data() == {
        "texts": [{"label": "Image", "values": ["a", "b", "c", "d"]}],
        "columns": [{"label": "Dice", "digits": 4}],
        "views": [{"label": "foreground", "values": [[0.25, None, 0.125, 0.25]]}],
        "sort": 1,
        "sign": 1,
    }


def test_scores_of_the_foreground_and_of_every_class_can_be_shown(make_run):
    table = table_of(make_run(classes=["background", "axon", "myelin"]))
    assert [view.label for view in table.views] == ["foreground", "axon", "myelin", "background"]
    assert [c.label for c in table.columns] == [
        *("Dice", "IoU", "Precision", "Recall", "Volume bias", "HD95 (px)", "NSD"),
    ]
    assert [label for label, _ in table.texts] == ["Image", "Size (px)"]  # each image is its own group
    assert table.texts[1][1][0] == "48 × 48"
    texts, numbers = table.first()[0]
    assert texts[0] == "image_5"
    assert numbers[5] == "5.50"


def test_two_classes_need_no_choice_between_foreground_and_the_one_class(make_run):
    assert [view.label for view in table_of(make_run()).views] == ["foreground", "background"]


def test_groups_are_shown_where_they_hold_several_images(make_run):
    folder = make_run()
    path = folder / "per_image.csv"
    path.write_text(path.read_text().replace("image_1,image_1,", "image_1,image_0,"))
    table = table_of(folder)
    assert table.texts[1] == ("Group", ("image_0", "image_0", "image_2", "image_3", "image_4", "image_5"))


def test_a_page_that_would_become_too_large_holds_the_foreground_alone(make_run, monkeypatch):
    monkeypatch.setattr(tables, "MOST_CELLS", 80)  # of 7 scores, 2 views, 6 images
    table = table_of(make_run())
    assert [view.label for view in table.views] == ["foreground"]
    assert not table.complete


def test_embedded_json_cannot_end_its_element_and_stays_the_same_value():
    value = {"</script><!-- & \u2028 \udce9": ["<b>", None, 0.5]}
    text = str(embedded_json(value))
    assert not set("<>&\u2028") & set(text)
    assert text.isascii()
    assert json.loads(text) == value


def test_numbers_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json([float("nan")])
