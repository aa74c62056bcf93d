"""What a replay prints beside the recorded curve."""

from dataclasses import replace

from results.rows import EpochRow
from trainer.replayed import HEADER, side_by_side

ROW = EpochRow(
    epoch=300,
    train_loss=2.30258509,
    val_loss=2.30258509,
    val_acc=1.0,
    lr=1e-3,
    train_seconds=1.0,
    val_seconds=1.0,
    images_per_second=1.0,
)


def test_an_epoch_of_both_curves_and_its_header_fit_on_80_columns_under_one_another():
    line = side_by_side(ROW, replace(ROW, val_loss=9.5, val_acc=0.2771))
    assert line == "  300  2.30258509 / 2.30258509 =  2.30258509 / 9.50000000 !  100.00 / 27.71 !"
    assert max(len(line), len(HEADER)) <= 80
    places = [HEADER.index(name) for name in ("train loss", "val loss", "val %")]
    assert places == [7, 34, 61]
    assert [line[place - 2 : place] for place in places] == ["  "] * 3
