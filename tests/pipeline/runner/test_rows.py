import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import caption_key, unpack_keys
from pipeline.runner.rows import Row, WantedRows

rows = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 4)), max_size=30).map(
    lambda drawn: [Row(id, caption_key(id), str(group), f"{id}.mp4") for id, group in drawn]
)


def plain(some):
    """Rows by what they are; those made of columns number their groups anew."""
    return [(row.id, row.key, row.path) for row in some]


@given(rows, st.randoms())
def test_columns_give_the_rows_they_were_made_of(made, random):
    wanted = WantedRows.of(made)
    assert plain(wanted) == plain(made)
    assert (wanted.ids.to_list(), unpack_keys(wanted.keys)) == ([row.id for row in made], [row.key for row in made])
    chosen = [i for i in range(len(made)) if random.random() < 0.5]
    part = wanted.part(np.array(chosen, np.int64))
    assert plain(part) == plain(made[i] for i in chosen)
    assert (part.ids.to_list(), unpack_keys(part.keys)) == ([made[i].id for i in chosen], [made[i].key for i in chosen])
    assert plain(part[1:]) == plain(part)[1:]


@given(rows)
def test_rows_of_a_group_come_together_in_the_order_of_the_first(made):
    groups: dict[str, list[Row]] = {}
    for row in made:
        groups.setdefault(row.group, []).append(row)
    assert [plain(group) for group in WantedRows.of(made).by_group()] == [plain(group) for group in groups.values()]
