"""`hearonce cache verify`, `repair`, `gc` and `ls` over extracted audio, remembered digests and answers."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from media_samples import noise, tone, write_media

from cache import tables as schemas
from cache.answers import Answer, AnswerStore
from cache.artifact import write_artifact
from cache.keys import caption_key, clip_keys, pack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init


@pytest.fixture
def corpus(project, monkeypatch):
    """A corpus of two sounds, extracted."""
    monkeypatch.setenv("COLUMNS", "400")
    (project / "media").mkdir()
    write_media(project / "media/tone.wav", samples=tone(1.0, 16000), sample_rate=16000)
    write_media(project / "media/noise.wav", samples=noise(5.0, 16000), sample_rate=16000)
    init(Path("media"), name="mine", captions=None, window=1.0)
    ingest("mine")
    extract_audio("mine")
    return project


@pytest.fixture
def cache(hearonce):
    return partial(hearonce, "cache")


def flacs() -> dict[str, Path]:
    """The FLAC file of each medium."""
    media = schemas.read_table(layout.table("mine", "media"), schemas.MEDIA)
    found = {path.stem: path for path in Path(".hearonce/audio").rglob("*.flac")}
    return {path: found[digest] for path, digest in media.select("path", "digest").iter_rows() if digest in found}


def flip(path: Path, byte: int = 5) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def answer_in(out: str):
    """The JSON document after what stages have printed."""
    return json.loads(out[out.index("[\n" if "[\n" in out else "[]") :])


def found_by(cache, *arguments) -> list[dict]:
    code, out, _ = cache("verify", "--json", *arguments)
    lines = answer_in(out)
    assert code == (3 if lines else 0)
    return lines


def test_audio_is_listed_and_checked(corpus, cache):
    assert found_by(cache) == []
    (line,) = json.loads(cache("ls", "--json")[1])["audio"]
    assert line["recipe"] == "flac16-keep-1" and line["files"] == 2 and line["bytes"] > 10_000


@pytest.mark.parametrize("byte", [18, 70_000])
def test_damaged_audio_is_named_removed_and_extracted_again(corpus, cache, byte):
    flac = flacs()["noise.wav"]
    before = flac.read_bytes()
    flip(flac, byte)
    for arguments in ([], [".hearonce"], [".hearonce/audio"], [flac.parents[1]]):
        (line,) = found_by(cache, *arguments)
        assert line["file"] == f"{flac.parent.name}/{flac.name}"
        assert "does not match its checksum" in line["reason"] and "mine: noise.wav" in line["reason"]
    assert cache("repair", "--dry-run")[0] == 3 and flac.is_file()
    code, out, _ = cache("repair")
    assert code == 0 and "1 part of audio, answers and digests was dropped" in out
    assert not flac.exists() and not flac.with_suffix(".json").exists() and flacs()["tone.wav"].is_file()
    assert found_by(cache) == []
    extract_audio("mine")
    assert flac.read_bytes() == before


def test_damage_of_audio_heals_by_extracting_again(corpus, cache, capsys):
    flac = flacs()["noise.wav"]
    before = flac.read_bytes()
    flip(flac, 70_000)
    capsys.readouterr()
    extract_audio("mine")
    assert "1 found in cache, 1 computed" in (line := capsys.readouterr().out) and "1 damaged file extracted" in line
    assert flac.read_bytes() == before
    extract_audio("mine")
    assert "2 found in cache, 0 computed" in capsys.readouterr().out


def test_audio_without_its_record_or_of_an_older_version_is_named(corpus, cache):
    found = flacs()
    found["noise.wav"].with_suffix(".json").unlink()
    plain = {"sample_rate": 16000, "channels": 1, "n_samples": 16000, "warning": None}
    found["tone.wav"].with_suffix(".json").write_text(json.dumps(plain))
    reasons = sorted(line["reason"].partition(":")[0] for line in found_by(cache))
    assert reasons == ["is missing", "was extracted by an older version, without checksums"]
    extract_audio("mine")
    assert found_by(cache) == []


def test_gc_drops_audio_of_media_that_no_table_names(corpus, cache):
    found = flacs()
    Path("media/tone.wav").unlink()
    ingest("mine")
    extract_audio("mine")
    (other := found["noise.wav"].parents[2] / "flac24-mono-1" / "ab").mkdir(parents=True)
    shutil.copy(found["noise.wav"], other)
    folder = str(found["noise.wav"].parents[1])
    planned = answer_in(cache("gc", "--dry-run", "--json", folder)[1])
    assert [(line["store"], line["files_dropped"]) for line in planned] == [(folder, 1)]
    assert found["tone.wav"].is_file()
    assert answer_in(cache("gc", "--json", ".hearonce/audio")[1])[0]["files_dropped"] == 1
    assert not found["tone.wav"].exists() and not found["tone.wav"].with_suffix(".json").exists()
    assert found["noise.wav"].is_file() and found_by(cache, folder) == []
    assert not any(other.iterdir())  # extracted in a way that no manifest names


def test_gc_keeps_all_audio_of_a_medium_that_is_not_extracted_yet_and_where_there_is_no_table(corpus, cache):
    folder = str(flacs()["noise.wav"].parents[1])
    shutil.rmtree(layout.DATA / "audio")
    assert answer_in(cache("gc", "--json", folder)[1]) == []
    shutil.rmtree(layout.DATA / "tables")
    cache("gc", folder)
    assert len(list(Path(folder).rglob("*.flac"))) == 2


def test_gc_of_shared_audio_must_be_asked_for(corpus, cache, monkeypatch):
    Path("media/tone.wav").unlink()
    ingest("mine")
    extract_audio("mine")
    monkeypatch.setenv("HEARONCE_STORE", os.path.abspath(".hearonce"))
    code, _, err = cache("gc", ".hearonce/audio")
    assert code == 2 and "--shared" in err
    assert len(list(Path(".hearonce/audio").rglob("*.flac"))) == 2
    assert cache("gc", ".hearonce/audio", "--shared")[0] == 0
    assert len(list(Path(".hearonce/audio").rglob("*.flac"))) == 1


def test_damaged_digests_are_named_and_forgotten(corpus, cache):
    with closing(sqlite3.connect(".hearonce/digests.sqlite")) as connection:
        connection.execute("UPDATE remembered SET value = value || '0' WHERE name LIKE '%tone.wav'")
        connection.commit()
    (line,) = found_by(cache)
    assert "tone.wav" in line["reason"] and line["path"] == ".hearonce/digests.sqlite"
    assert cache("repair")[0] == 0
    assert found_by(cache) == [] == found_by(cache, ".hearonce/digests.sqlite")
    Path(".hearonce/digests.sqlite").write_bytes(b"no table" * 500)
    assert "is a damaged database" in found_by(cache, ".hearonce")[0]["reason"]
    assert cache("repair", ".hearonce/digests.sqlite")[0] == 0
    assert found_by(cache) == []


def test_damaged_answers_are_dropped_and_the_others_stay(project, cache):
    kept = AnswerStore(project / ".hearonce/answers", {"task": "description", "prompt": "Hear."})
    texts = [f"sound {i}" for i in range(5)]
    kept.add([Answer(kept.key(text), text, "a bark", "stop", "m", 3, 2) for text in texts])
    (file,) = kept.path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    flip(file, len(lines[0]) + 40)
    flip(file, -1)  # the end of the last line, which is whole otherwise
    assert [line["file"].split(", ")[1] for line in found_by(cache)] == ["line 2,", "line 5,"]
    assert cache("repair")[0] == 0
    assert file.read_bytes() == b"".join(lines[i] for i in (0, 2, 3))
    assert found_by(cache) == []
    kept.add([Answer(kept.key("new"), "new", "a bark", "stop", "m", 3, 2)])  # the file it wrote into is replaced
    assert {answer.text for answer in kept.read().values()} == {"sound 0", "sound 2", "sound 3", "new"}
    flip(kept.path / "about.json", 10)
    assert cache("repair")[0] == 0
    kept.close()
    kept.add([Answer(kept.key("newer"), "newer", "a bark", "stop", "m", 3, 2)])
    assert found_by(cache) == [] and len(kept.read()) == 5


def test_what_a_killed_writer_has_left_is_no_damage(project, cache):
    kept = AnswerStore(project / ".hearonce/answers", {"task": "description", "prompt": "Hear."})
    kept.add([Answer(kept.key("a"), "a", "a bark", "stop", "m", 3, 2)])
    (file,) = kept.path.glob("*.jsonl")
    file.write_bytes(file.read_bytes() + file.read_bytes()[:50])
    assert found_by(cache) == [] and len(kept.read()) == 1


def test_forgotten_media_lose_their_rows_and_audio_alone(corpus, cache):
    spans = schemas.read_table(layout.table("mine", "spans"), schemas.SPANS, pl.col("modality") == "sound")
    keys = clip_keys(spans["media_digest"], spans["start_s"], spans["stop_s"], "flac16-keep-1", None)
    row_format = RowFormat(2)
    store = RowStore.ensure(Path(".hearonce/rows"), "clips", "ab" * 16, row_format)
    store.append(keys, np.zeros((len(keys), 2), np.float32))
    numbered = pack_keys([caption_key(f"a key that only an artifact has, {i}") for i in range(len(keys))])
    store.append(numbered, np.ones((len(keys), 2), np.float32))
    artifact = layout.embeddings("mine", "frames", "clips")
    description = {"modality": "clips", "fingerprint": "ab" * 16}
    write_artifact(artifact, spans["clip_id"].to_list(), numbered, store, description)
    planned = answer_in(cache("forget", "tone.wav", "--dry-run", "--json")[1])
    assert len(RowStore.open(store.path)) == 2 * len(keys) and len(flacs()) == 2
    assert answer_in(cache("forget", "tone.wav", "--json")[1]) == planned
    kept = (spans["media_path"] != "tone.wav").to_numpy()
    assert [one["rows_dropped"] for one in planned] == [2 * int((~kept).sum()), 0]
    assert [one["files_dropped"] for one in planned] == [0, 1]
    store = RowStore.open(store.path)
    assert len(store) == 2 * kept.sum() and len(store.missing(keys[kept])) == len(store.missing(numbered[kept])) == 0
    assert set(flacs()) == {"noise.wav"}
    code, _, err = cache("forget", "nobody.wav")
    assert code == 2 and "No table in data/ names a medium 'nobody.wav'" in err


def test_audio_that_an_older_version_took_from_another_file_is_a_problem(corpus, cache, capsys):
    found = flacs()
    shutil.copyfile(found["noise.wav"], found["tone.wav"])
    plain = {"sample_rate": 16000, "channels": 1, "n_samples": 80000, "warning": None}
    found["tone.wav"].with_suffix(".json").write_text(json.dumps(plain))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        extract_audio("mine")
    assert "1 computed" in capsys.readouterr().out
    problems = schemas.read_table(layout.problems("mine", "extract_audio"), schemas.PROBLEMS)
    assert problems["path"].to_list() == ["tone.wav"] and "hearonce cache forget" in problems["reason"][0]
    assert found_by(cache) == []
