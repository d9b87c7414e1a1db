"""The best and the worst classes."""

from cache import tables
from stages.report.tables import N_EXTREME, class_table


def classes(values, direction="clip_to_text", metric="mAP"):
    rows = [
        {"experiment": "e", "direction": direction, "class": name, "metric": metric, "value": value}
        for name, value in values.items()
    ]
    return tables.table(rows, tables.CLASSES)


MANY = {f"class {n:02d}": n / 100 for n in range(40)}


def test_best_and_worst_are_the_ends_of_all():
    table = class_table(classes(MANY))
    assert table.n_classes == len(table.rows) == 40
    assert [row.name for row in table.best] == [row.name for row in table.rows[:N_EXTREME]]
    assert table.best[0] == ("class 39", ["0.390"]) and table.worst[0] == ("class 00", ["0.000"])
    assert len(table.worst) == N_EXTREME


def test_few_classes_are_not_shown_twice():
    table = class_table(classes({"a": 0.1, "b": 0.3, "c": 0.2}))
    assert [row.name for row in table.best] == ["b", "c", "a"] and not table.worst


def test_a_column_that_is_the_same_for_all_is_left_out():
    both = classes(MANY).vstack(classes(dict.fromkeys(MANY, 0.5), "text_to_clip"))
    assert class_table(both).columns == [("clip_to_text", "mAP")]
    assert class_table(classes(dict.fromkeys(MANY, 0.5))) is None
    assert class_table(classes({})) is None


def test_classes_without_a_number_stand_last_and_are_no_extremes():
    table = class_table(classes({"a": float("nan"), "b": 0.3, "c": 0.2}))
    assert [row.name for row in table.rows] == ["b", "c", "a"]
    assert [row.name for row in table.best] == ["b", "c"]
    assert table.rows[-1].numbers == ["–"]


def test_the_list_has_a_limit():
    table = class_table(classes(MANY), 5)
    assert len(table.rows) == 5 and table.n_classes == 40 and len(table.worst) == N_EXTREME
