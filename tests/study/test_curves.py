import shutil

import pytest

from seg_scse.config.loading import override
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config
from seg_scse.study.cells import cells
from seg_scse.study.curves import curves, has_soft_dice
from seg_scse.study.declaration import Declaration
from seg_scse.study.variants import Variant

HEADER = "variant,seed,fold,level,epoch,step,loss,score,val_loss,val_score"


def declared(folder, folds=None, seeds=(0, 1)):
    variants = (
        Variant("none", "baseline", ("model.attention.type=none",), "no gates"),
        Variant("cse", "variant", ("model.attention.type=cse",), "cse gates"),
        Variant("frozen", "control", (), "means", "cse", trained=False),
    )
    study = Declaration("s", "dice", "test", "none", "cse", seeds, folds, variants)
    study.write(folder)
    return cells(folder, study)


def write_run(folder, steps, epochs=(), overrides=(), terms=("ce", "dice")):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(override(Config(), overrides)))
    header = ",".join(["step", "epoch", "lr", "loss", *(f"loss_{term}" for term in terms), "grad_norm"])
    (folder / "steps.csv").write_text("\n".join([header, *steps]) + "\n")
    header = "epoch,step,lr,train_loss,val_loss,dice_per_image,dice_pooled,iou_per_image,iou_pooled"
    (folder / "epochs.csv").write_text("\n".join([header, *epochs]) + "\n")


def rows(path):
    header, *found = path.read_text().splitlines()
    assert header == HEADER
    return found


def test_numbers_are_copied_as_they_stand(tmp_path):
    write_run(
        declared(tmp_path)[0].folder,
        ["0,0,1e-3,1.50,0.75,0.75,1.0", "1,0,1e-3,0.750000,0.5,0.25,1.0"],
        ["0,2,1e-3,1.1250,,,,,", "1,4,1e-3,0.5,0.250,0.1,0.2,0.30,0.4"],
        ["trainer.monitor=iou_per_image"],
    )
    path = curves(tmp_path)
    assert path == tmp_path / "curves.csv"
    assert rows(path) == [
        "none,0,,batch,0,0,1.50,0.25,,",
        "none,0,,batch,0,1,0.750000,0.75,,",
        "none,0,,epoch,0,2,1.1250,,,",
        "none,0,,epoch,1,4,0.5,,0.250,0.30",
    ]
    assert (tmp_path / "curves.png").exists()


def test_a_real_run_is_read(tmp_path, trained):
    cell = declared(tmp_path)[0]
    shutil.copytree(trained, cell.folder)
    table = [row.split(",") for row in rows(curves(tmp_path))]
    steps = (trained / "steps.csv").read_text().splitlines()[1:]
    epochs = (trained / "epochs.csv").read_text().splitlines()[1:]
    assert [row[5] for row in table] == [
        line.split(",")[column] for lines, column in ((steps, 0), (epochs, 1)) for line in lines
    ]
    assert all(0 < float(row[7]) < 1 for row in table if row[3] == "batch")
    assert all(0 <= float(row[9]) <= 1 for row in table if row[3] == "epoch")


def test_runs_that_are_missing_are_absent_and_each_fold_is_there(tmp_path):
    for cell in declared(tmp_path, folds=2)[:2]:
        write_run(cell.folder, ["0,0,1e-3,1,0.5,0.5,1"])
    assert rows(curves(tmp_path)) == ["none,0,0,batch,0,0,1,0.5,,", "cse,0,0,batch,0,0,1,0.5,,"]
    declared(tmp_path, folds=2)
    write_run(cells(tmp_path, Declaration.read(tmp_path))[2].folder, ["0,0,1e-3,1,0.5,0.5,1"])
    assert rows(curves(tmp_path))[2] == "none,0,1,batch,0,0,1,0.5,,"


def test_a_study_without_a_run_has_a_table_without_rows_and_no_figure(tmp_path):
    declared(tmp_path)
    assert rows(curves(tmp_path)) == []
    assert not (tmp_path / "curves.png").exists()


def test_a_line_cut_by_a_kill_and_numbers_that_are_not_finite_are_left_out(tmp_path):
    write_run(declared(tmp_path)[0].folder, ["0,0,1e-3,nan,inf,nan,nan", "1,0,1e-3,1,0.5,0.5,1"])
    with (tmp_path / "runs/none/seed0/steps.csv").open("a") as stream:
        stream.write("2,0,1e")
    assert rows(curves(tmp_path)) == ["none,0,,batch,0,0,,,,", "none,0,,batch,0,1,1,0.5,,"]


def test_the_score_of_a_batch_is_empty_without_a_dice_term(tmp_path):
    write_run(declared(tmp_path)[0].folder, ["0,0,1e-3,1,0.5,1"], (), ["loss.terms={jaccard: 1.0}"], ("jaccard",))
    assert rows(curves(tmp_path)) == ["none,0,,batch,0,0,1,,,"]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ((), True),
        (("loss.terms={dice: 0.5}",), True),
        (("augmentation.mix=cutmix",), True),
        (("augmentation.mix=mixup", "augmentation.mix_share=0.0"), True),
        (("augmentation.mix=mixup",), False),
        (("model.deep_supervision=1",), False),
        (("loss.terms={ce: 1.0}",), False),
        (("loss.terms={tversky: 1.0}",), False),
    ],
)
def test_the_dice_term_is_one_minus_soft_dice_or_there_is_no_score(overrides, found):
    assert has_soft_dice(override(Config(), overrides)) is found


def test_the_same_runs_give_the_same_bytes(tmp_path):
    write_run(declared(tmp_path)[0].folder, [f"{k},0,1e-3,{1 / (k + 1)},0.5,0.5,1" for k in range(100)])
    first = [curves(tmp_path).read_bytes(), (tmp_path / "curves.png").read_bytes()]
    assert [curves(tmp_path).read_bytes(), (tmp_path / "curves.png").read_bytes()] == first
