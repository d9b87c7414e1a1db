from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cache import tables as schemas
from cache.keys import unpack_keys
from stages.embed.clips import Clip, Clips, Span, clips_of

seconds = st.floats(0, 1e4, allow_nan=False)
frames = st.none() | st.integers(0, 1000)
spans = st.builds(
    Span, st.sampled_from([Path("a.mp4"), Path("b/c.mp4")]), st.text("01", max_size=2), *[seconds] * 2, *[frames] * 2
)
clips = st.lists(st.lists(spans, min_size=1, max_size=3), max_size=12).map(
    lambda drawn: [Clip(f"clip {i}", tuple(some), str(some[0].source)) for i, some in enumerate(drawn)]
)


def table(made):
    """The rows of a spans table."""
    rows = [
        (
            clip.id,
            "sound",
            str(one.source),
            str(one.source),
            one.digest,
            one.start_s,
            one.stop_s,
            one.start_frame,
            one.stop_frame,
        )
        for clip in made
        for one in clip.spans
    ]
    return pl.DataFrame(rows, dict(schemas.SPANS), orient="row")


@given(clips, st.text(max_size=5))
def test_columns_of_clips_give_the_clips_and_their_keys(made, rendition):
    for columns in (Clips.of(made), clips_of(table(made), Path())):
        assert list(columns) == made
        assert columns.take(np.arange(len(made))[::-2]) == made[::-2]
        assert unpack_keys(columns.keys(rendition)) == [clip.key(rendition) for clip in made]
        digests = [clip.spans[0].digest for clip in made]
        same = [[one == other for one in digests] for other in digests]
        files = columns.first_files()
        assert (files == files[:, None]).tolist() == same


def test_media_lie_in_their_folder():
    (clip,) = clips_of(table([Clip("one", (Span(Path("a.mp4"), "d", 0.0, 1.0),), "a.mp4")]), Path("/media"))
    assert (clip.spans[0].source, clip.name) == (Path("/media/a.mp4"), "a.mp4")
