"""From the official annotation files to the very frames of EgoVLP, on the miniature corpora."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature.build import PLACES
from miniature.ego import STEM
from parity.test_egovlp_sampling_parity import reference_reads

from cache import tables as schemas
from pipeline.config import layout
from stages.embed.clips import clips_of
from stages.embed.encoder import FrameInput
from stages.embed.frame_reader import FrameReader
from stages.embed.frame_sampling import sample, uniform_numbers
from stages.ingest.command import ingest


@pytest.fixture
def picture_clips(miniature, project):
    """Ingests a corpus of the miniature and gives the places of its clips' pictures."""

    def clips(corpus, without=""):
        media, annotations = (miniature / part for part in PLACES[corpus])
        config = project / "configs" / "corpora" / f"{corpus}.yaml"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if not without or without not in line))
        place = f"{corpus}: {{media: {media}, annotations: {annotations}}}"
        (project / "params.yaml").write_text(f"corpora:\n  {place}\nembeddings: {{}}\nsubsets: {{}}\n")
        ingest(corpus)
        spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS)
        return clips_of(spans.filter(pl.col("modality") == "picture"), media)

    return clips


def test_epic_frames_from_folders_are_those_of_the_videos(picture_clips):
    folders, videos = picture_clips("epic-mir"), picture_clips("epic-mir", without="rgb_frames")
    assert {one.spans[0].source.is_dir() for one in folders} == {True}
    assert {one.spans[0].source.suffix for one in videos} == {".MP4"}
    chosen = FrameInput(4, "egovlp-epic")
    first = folders[0].spans[0].digest
    group = [i for i, one in enumerate(folders) if one.spans[0].digest == first][:5]
    stills, moving = (FrameReader(chosen, [clips[i] for i in group]) for clips in (folders, videos))
    seen = {row.id: item for row, item in moving.read(moving.rows)}
    for row, item in stills.read(stills.rows):
        clip = next(one for one in folders if one.id == row.id)
        assert sample(chosen, clip).positions == uniform_numbers(4, clip.spans[0].start_frame, clip.spans[0].stop_frame)
        assert item.shape == seen[row.id].shape
        assert np.abs(item.astype(int) - seen[row.id].astype(int)).mean() < 12, "JPEG and H.264 of the same frames"


def test_egomcq_frames_are_those_that_the_reference_seeks(miniature, picture_clips):
    clips = {one.id: one for one in picture_clips("ego-mcq")}
    questions = json.loads((miniature / "egomcq" / f"{STEM}.json").read_text())
    moments = [one for item in questions.values() for one in item["choices"].values()]
    crossing = 0
    for moment in moments:
        start_s, stop_s = float(moment["clip_start"]), float(moment["clip_end"])
        clip = clips[f"{moment['video_uid']}@{start_s:.12g}-{stop_s:.12g}"]
        chosen = sample(FrameInput(4, "egovlp-egomcq"), clip)
        reads = [(Path(clip.spans[s].source).name, n - 1) for s, n in zip(chosen.spans, chosen.positions, strict=True)]
        assert reads == reference_reads(start_s, stop_s)
        crossing += len(clip.spans) == 2
    assert crossing
