"""`hearonce cache verify --outdated` and `repair --outdated`: media that an older version read wrongly."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from media_samples import noise, tone, write_media

from cache import tables as schemas
from cache.keys import clip_key
from cache.location import Store
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings
from pipeline.config.subsets import media_kinds
from pipeline.media.audio_store import recipe

PLAIN = recipe(AudioSettings())


def shorten(corpus: str, path: str, duration_s: float) -> str:
    """Makes tables and manifest those of an older version, which thought a joined medium shorter; its digest."""
    media = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)
    wrong = pl.when(pl.col("path") == path).then(duration_s).otherwise("duration_s").alias("duration_s")
    schemas.write_table(media.with_columns(wrong), schemas.MEDIA, layout.table(corpus, "media"))
    spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS)
    wrong = pl.when(pl.col("media_path") == path).then(duration_s).otherwise("stop_s").alias("stop_s")
    schemas.write_table(spans.with_columns(wrong), schemas.SPANS, layout.table(corpus, "spans"))
    audio = schemas.read_table(layout.audio(corpus), schemas.AUDIO)
    schemas.write_table(audio.with_columns(recipe=pl.lit(PLAIN)), schemas.AUDIO, layout.audio(corpus))
    return media.filter(pl.col("path") == path)["digest"].item()


@pytest.fixture
def corpus(project, hearonce, monkeypatch) -> Path:
    """A joined file and a plain one, ingested and extracted."""
    monkeypatch.setenv("COLUMNS", "300")
    folder = project / "videos"
    folder.mkdir()
    one = write_media(project / "1.ts", samples=tone(3, 48000), audio_codec="mp2")
    (folder / "joined.ts").write_bytes(one.read_bytes() * 2)
    write_media(folder / "plain.wav", samples=noise(2, 16000), sample_rate=16000)
    assert hearonce("init", folder, "--name", "mine")[0] == 0
    assert hearonce("ingest", "mine")[0] == 0
    assert hearonce("extract-audio", "mine", "--keep-going")[0] == 0
    return project


def test_only_media_of_a_kind_have_a_recipe_of_their_own(corpus):
    audio = schemas.read_table(layout.audio("mine"), schemas.AUDIO)
    recipes = dict(audio.select("media_id", "recipe").iter_rows())
    assert recipes == {"joined.ts": f"{PLAIN}-joined-1", "plain.wav": PLAIN}
    assert list(media_kinds("mine").values()) == ["joined"]


def test_a_corpus_without_such_media_has_the_table_it_always_had(corpus, hearonce):
    (corpus / "videos/joined.ts").unlink()
    assert hearonce("ingest", "mine")[0] == 0
    table = layout.table("mine", "media")
    ours = table.read_bytes()
    media = schemas.read_table(table, schemas.MEDIA)
    schemas.write_table(media, schemas.MEDIA, table)
    assert table.read_bytes() == ours
    assert media_kinds("mine") == {}


def test_what_is_as_it_ought_to_be_is_not_outdated(corpus, hearonce):
    code, output, _ = hearonce("cache", "verify", "--outdated")
    assert (code, output.strip()) == (0, "No medium is outdated.")


def test_a_joined_medium_of_an_older_version_is_found_and_dropped(corpus, hearonce):
    digest = shorten("mine", "joined.ts", 3.0)
    store = RowStore.ensure(Store.default().rows, "clips", "ab" * 16, RowFormat(4), {})
    plain = schemas.read_table(layout.table("mine", "media"), schemas.MEDIA).filter(pl.col("path") == "plain.wav")
    keys = [clip_key(digest, 0.0, 3.0, PLAIN), clip_key(plain["digest"].item(), 0.0, 2.0, PLAIN)]
    store.append(keys, np.ones((2, 4), np.float32), provenance={})
    old = Store.default().audio / PLAIN / digest[:2] / f"{digest}.flac"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_bytes(b"half of it")

    code, output, _ = hearonce("cache", "verify", "--outdated", "--json")
    assert code == 3
    (found,) = json.loads(output)["outdated"]
    assert (found["path"], found["right_kind"], found["duration_s"]) == ("joined.ts", "joined", 3.0)
    assert found["right_duration_s"] == pytest.approx(6, abs=0.05)
    assert "the table says 3.000 s" in found["reason"]

    assert hearonce("cache", "repair", "--outdated", "--dry-run")[0] == 3
    assert old.is_file()
    code, output, _ = hearonce("cache", "repair", "--outdated")
    assert code == 0
    assert "1 row and 1 audio file of 1 medium were dropped" in output
    assert not old.exists()
    left = RowStore.open(store.path)
    assert left.missing(keys) == [keys[0]]

    assert hearonce("ingest", "mine")[0] == 0
    assert hearonce("extract-audio", "mine", "--keep-going")[0] == 0
    assert hearonce("cache", "verify", "--outdated")[0] == 0


def test_media_that_are_gone_are_named(corpus, hearonce):
    (corpus / "videos/plain.wav").unlink()
    Store.default().digests.unlink()
    code, output, _ = hearonce("cache", "verify", "--outdated")
    assert code == 0
    assert "not compared: mine: plain.wav: " in output
