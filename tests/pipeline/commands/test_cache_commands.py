"""The `hearonce cache` commands as a user types them, in a project with tables, stores and embedding caches."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cache import tables as schemas
from cache.answers import Answer, AnswerStore
from cache.artifact import open_artifact, write_artifact, write_blocks
from cache.keys import caption_key, clip_key, pack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat, Rows
from cache.upkeep.exchange import export, open_rows
from pipeline.config import layout

FINGERPRINT = "ab" * 16
FORMAT = RowFormat(8, "float16")
TEXTS = [f"a dog barks {i} times" for i in range(6)]
CLIPS = [clip_key("d" * 32, float(i), i + 1.0, "flac16-1-1") for i in range(4)]


@pytest.fixture
def filled(project, monkeypatch) -> Path:
    """Six wanted captions and four clips in tables, stores of two segments with a row more, and two artifacts."""
    monkeypatch.setenv("COLUMNS", "400")
    captions = [{"caption_id": f"c{i}", "text": text, "source": "visual"} for i, text in enumerate(TEXTS)]
    path = layout.table("demo", "captions")
    path.parent.mkdir(parents=True)
    schemas.write_table(schemas.table(captions, schemas.CAPTIONS), schemas.CAPTIONS, path)
    for modality, keys in (("captions", [caption_key(text) for text in TEXTS]), ("clips", CLIPS)):
        store = RowStore.ensure(project / ".hearonce/rows", modality, FINGERPRINT, FORMAT, {"checkpoint": "1f"})
        store.append(keys, values(len(keys)), provenance={"device": "cpu", "torch": "2.6"})
        store.append([caption_key("nobody wants me")], values(1))
        description = {"modality": modality, "encoder": "small", "fingerprint": FINGERPRINT}
        write_artifact(
            layout.embeddings("demo", "small", modality), [f"{i}" for i in range(len(keys))], keys, store, description
        )
    return project


def values(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, 8)).astype(np.float16)


def store_of(root: Path, modality: str = "captions") -> RowStore:
    return RowStore.open(root / f".hearonce/rows/{modality}-{FINGERPRINT}")


@pytest.fixture
def cache(hearonce):
    return partial(hearonce, "cache")


def flip(path: Path, offset: int = 5) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def everything(root: Path) -> dict[str, bytes]:
    return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}


def test_ls_lists_stores_with_their_encoder_and_artifacts(filled, cache):
    code, out, _ = cache("ls", "--json")
    found = json.loads(out)
    assert code == 0
    assert [(s["modality"], s["encoder"], s["rows"], s["segments"]) for s in found["stores"]] == [
        ("captions", "small", 7, 2),
        ("clips", "small", 5, 2),
    ]
    assert [(a["rows"], a["format"]) for a in found["artifacts"]] == [(6, "8 float16"), (4, "8 float16")]
    assert all(one["bytes"] > 0 for one in found["stores"] + found["artifacts"])
    assert FINGERPRINT in cache("ls")[1]


def test_ls_of_nothing_says_so(project, cache):
    assert cache("ls") == (0, "No row stores.\nNo embedding caches.\nNo folders of answers.\n", "")


def test_ls_names_a_damaged_store_beside_the_healthy_ones(filled, cache):
    flip(Path(store_of(filled).path) / "store.json", 30)
    code, out, _ = cache("ls", "--json")
    captions, clips = json.loads(out)["stores"]
    assert code == 0
    assert captions["rows"] == "?" and "repair" in captions["path"]
    assert clips["rows"] == 5


def test_answers_of_language_models_are_listed_and_checked(filled, cache):
    kept = AnswerStore(
        filled / ".hearonce/answers", {"task": "description", "model": {"model": "m"}, "prompt": "Hear."}
    )
    kept.add([Answer(kept.key(text), text, "a bark", "stop", "m", 3, 2) for text in TEXTS])
    (line,) = json.loads(cache("ls", "--json")[1])["answers"]
    assert [line[name] for name in ("task", "model", "fingerprint", "answers")] == [
        *("description", "m"),
        kept.fingerprint,
        len(TEXTS),
    ]
    assert line["bytes"] > 0 and "1 folder of answers" in cache("ls", "--store", ".hearonce")[1]
    assert cache("verify")[1] == "5 checked, nothing damaged.\n"

    (file,) = kept.path.glob("*.jsonl")
    first = file.read_bytes().index(b"\n")
    flip(file, first + 40)
    flip(kept.path / "about.json", 20)
    for arguments in ([], [".hearonce"], [".hearonce/answers"], [kept.path]):
        code, out, _ = cache("verify", "--json", *arguments)
        lines, about = json.loads(out)
        assert code == 3 and lines["path"] == about["path"] and Path(lines["path"]).resolve() == kept.path
        assert lines["file"] == f"{file.name}, line 2," and "that answer is lost" in lines["reason"]
        assert about["file"] == "about.json"
    (line,) = json.loads(cache("ls", "--json")[1])["answers"]
    assert line["answers"] == len(TEXTS) - 1 and line["task"] == "?"

    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[::2][:1]))  # as the remedy has it
    (kept.path / "about.json").unlink()
    again = AnswerStore(filled / ".hearonce/answers", kept.identity)
    again.add([Answer(again.key("new"), "new", "a bark", "stop", "m", 3, 2)])
    assert cache("verify")[0] == 0 and len(again.read()) == 2


def test_info_tells_where_rows_come_from(filled, cache):
    described = json.loads(cache("info", store_of(filled).path, "--json")[1])
    assert described["identity"] == {"checkpoint": "1f"}
    assert described["provenance"] == [
        {"rows": 6, "provenance": {"device": "cpu", "torch": "2.6"}},
        {"rows": 1, "provenance": {}},
    ]
    out = cache("info", layout.embeddings("demo", "small", "clips"))[1]
    assert "embedding cache" in out and FINGERPRINT in out and "small" in out


@pytest.mark.parametrize("path", ["configs", "nowhere", "params.yaml"])
def test_info_of_something_else_is_one_sentence(filled, cache, path):
    code, _, err = cache("info", path)
    assert code == 2
    assert err.startswith("hearonce: ") and path in err and len(err.splitlines()) == 1


def test_verify_of_a_healthy_project_leaves_with_0(filled, cache):
    assert cache("verify") == (0, "4 checked, nothing damaged.\n", "")
    assert cache("verify", "--json")[:2] == (0, "[]\n")


def test_verify_and_repair_drop_the_damaged_rows_only(filled, cache):
    store = store_of(filled)
    first = Path(store.path) / "segments" / store.segments.names()[0]
    flip(first / "values/c.0.0")
    code, out, _ = cache("verify", "--json")
    (damage,) = json.loads(out)
    assert code == 3
    assert damage["file"].endswith("values/c.0.0") and damage["rows"] == [0, 6]
    assert damage["keys"] == [caption_key(text).hex() for text in TEXTS]

    before = everything(filled)
    assert cache("repair", "--dry-run")[0] == 3
    assert everything(filled) == before
    code, out, _ = cache("repair")
    assert code == 0 and "6 rows" in out
    assert store_of(filled).missing([caption_key(text) for text in [*TEXTS, "nobody wants me"]]) == [
        caption_key(text) for text in TEXTS
    ]
    assert cache("verify")[0] == 0
    assert cache("repair")[1] == "Nothing is damaged.\n"


def test_verify_finds_a_damaged_artifact(filled, cache):
    path = layout.embeddings("demo", "small", "clips")
    flip(path / "values/c.0.0")
    code, out, _ = cache("verify", path)
    assert code == 3
    assert "values/c.0.0" in out and "0 to 3" in out and "dvc repro" in out
    flip(path / "zarr.json", 100)
    assert cache("verify", path)[0] == 3


def test_gc_drops_what_nothing_names(filled, cache):
    before = everything(filled)
    planned = json.loads(cache("gc", "--dry-run", "--json")[1])
    assert [one["rows_dropped"] for one in planned] == [1, 1]
    assert everything(filled) == before
    assert json.loads(cache("gc", "--json")[1]) == planned
    assert (len(store_of(filled)), len(store_of(filled, "clips"))) == (6, 4)
    np.testing.assert_array_equal(store_of(filled).read([caption_key(text) for text in TEXTS]), values(6))
    assert [one["rows_dropped"] for one in json.loads(cache("gc", "--json")[1])] == [0, 0]


def test_gc_keeps_rows_of_tables_that_no_artifact_has_yet(filled, cache):
    shutil.rmtree(layout.embeddings("demo", "small", "captions"))
    assert cache("gc", store_of(filled).path)[0] == 0
    assert store_of(filled).missing([caption_key(text) for text in TEXTS]) == []


def test_gc_keeps_rows_of_described_captions(filled, cache):
    one = {"caption_id": "described-m:c0", "text": "nobody wants me", "source": "described-m"}
    schemas.write_table(schemas.table([one], schemas.CAPTIONS), schemas.CAPTIONS, layout.described("demo", "captions"))
    assert cache("gc", store_of(filled).path)[0] == 0
    assert store_of(filled).missing([caption_key("nobody wants me")]) == []


def test_gc_keeps_the_rows_of_another_artifact(filled, cache, tmp_path):
    key = caption_key("nobody wants me")
    description = {"modality": "captions", "fingerprint": FINGERPRINT}
    write_artifact(tmp_path / "kept.h5", ["x"], [key], store_of(filled), description)
    cache("gc", "--keep", tmp_path / "kept.h5", store_of(filled).path)
    assert store_of(filled).missing([key]) == []


def test_gc_refuses_where_it_would_drop_everything(filled, cache, monkeypatch):
    for folder in ("tables", "embeddings"):
        shutil.rmtree(layout.DATA / folder)
    code, _, err = cache("gc")
    assert code == 2 and "every row would go" in err
    assert len(store_of(filled)) == 7
    monkeypatch.setenv("HEARONCE_STORE", str(filled / ".hearonce"))
    code, _, err = cache("gc")
    assert code == 2 and "--shared" in err


def test_gc_checks_every_store_before_it_drops_a_row(filled, cache):
    shutil.rmtree(layout.embeddings("demo", "small", "clips"))
    code, _, err = cache("gc")
    assert code == 2 and "Nothing in data/ names any clips" in err
    assert len(store_of(filled)) == 7


@pytest.mark.parametrize("named", [".hearonce/rows", "link"])
def test_gc_of_a_named_store_that_others_use_needs_shared(filled, cache, monkeypatch, named):
    monkeypatch.setenv("HEARONCE_STORE", str(filled / ".hearonce"))
    Path("link").symlink_to(store_of(filled).path)
    code, _, err = cache("gc", named)
    assert code == 2 and "--shared" in err
    assert len(store_of(filled)) == 7
    assert cache("gc", named, "--shared")[0] == 0
    assert len(store_of(filled)) == 6


def test_compact_merges_segments(filled, cache):
    planned = json.loads(cache("compact", "--dry-run", "--json")[1])
    assert [(one["segments_removed"], one["segments_written"]) for one in planned] == [(2, 1), (2, 1)]
    assert len(store_of(filled).segments.names()) == 2
    assert cache("compact")[0] == 0
    assert len(store_of(filled).segments.names()) == 1
    assert len(store_of(filled)) == 7


@pytest.mark.parametrize("name", [".hearonce", ".hearonce/rows"])
def test_merge_takes_what_a_colleague_has(filled, cache, tmp_path, name):
    other = tmp_path / "other"
    planned = json.loads(cache("merge", name, other, "--dry-run", "--json")[1])
    assert not other.exists()
    assert [one["rows_added"] for one in planned] == [7, 5]
    assert cache("merge", name, other)[0] == 0
    merged = RowStore.open(other / f"captions-{FINGERPRINT}")
    np.testing.assert_array_equal(merged.read([caption_key(text) for text in TEXTS]), values(6))
    assert [one["rows_added"] for one in json.loads(cache("merge", name, other, "--json")[1])] == [0, 0]


def test_merge_of_different_encoders_is_refused(filled, cache, tmp_path):
    other = RowStore.ensure(tmp_path, "captions", "cd" * 16, FORMAT)
    code, _, err = cache("merge", store_of(filled).path, other.path)
    assert code == 2 and "never mixed" in err
    assert len(RowStore.open(other.path)) == 0


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_merge_into_what_is_no_folder_of_stores_is_refused(filled, cache, dry):
    artifact = layout.embeddings("demo", "small", "clips")
    before = everything(filled)
    inside = Path(store_of(filled).path) / "segments"
    for target in ("configs", artifact, artifact / "new", artifact / "values", inside / "new"):
        code, _, err = cache("merge", ".hearonce", target, *dry)
        assert code == 2 and str(target) in err and len(err.splitlines()) == 1
    assert everything(filled) == before


def test_merge_into_a_working_store_without_rows_fills_its_rows_folder(filled, cache, tmp_path):
    (tmp_path / "other/audio").mkdir(parents=True)
    assert cache("merge", ".hearonce", tmp_path / "other")[0] == 0
    assert len(RowStore.open(tmp_path / f"other/rows/captions-{FINGERPRINT}")) == 7


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_merge_of_other_rows_into_a_folder_of_stores_is_refused(filled, cache, tmp_path, dry):
    RowStore.ensure(tmp_path / "other", "captions", FINGERPRINT, RowFormat(9, "float16"))
    code, _, err = cache("merge", ".hearonce", tmp_path / "other", *dry)
    assert code == 2 and "holds rows of 9 float16, not of 8 float16" in err


@pytest.mark.parametrize("suffix", ["zarr", "h5", "npz"])
@pytest.mark.parametrize(
    ("name", "value"), [("modality", "../../../evil"), ("fingerprint", "../evil"), ("fingerprint", "AB" * 16)]
)
def test_import_believes_no_name_that_could_be_a_path(filled, cache, suffix, name, value):
    description = {"modality": "captions", "fingerprint": FINGERPRINT} | {name: value}
    key = caption_key(TEXTS[0])
    write_artifact(filled / "a.zarr", ["x"], [key], store_of(filled), description)
    export(open_artifact(filled / "a.zarr"), filled / f"b.{suffix}")
    before = {path for folder in (filled, filled.parent) for path in folder.rglob("*")}
    code, _, err = cache("import", f"b.{suffix}")
    assert code == 2 and f"b.{suffix} was not imported: '{value}' is no {name}" in err
    assert {path for folder in (filled, filled.parent) for path in folder.rglob("*")} == before


def test_a_file_whose_rows_are_refused_leaves_no_new_store(filled, cache):
    rows = values(1)
    rows[0, 3] = np.nan
    beside = {"modality": "captions", "fingerprint": "cd" * 16}
    bad = Rows(FORMAT, pack_keys([caption_key("x")]), rows)
    write_blocks(filled / "bad.zarr", FORMAT, ["x"], 1, [bad], beside)
    code, _, err = cache("import", "bad.zarr")
    assert code == 2 and "is not finite" in err
    assert sorted(path.name for path in (filled / ".hearonce/rows").iterdir()) == [
        f"captions-{FINGERPRINT}",
        f"clips-{FINGERPRINT}",
    ]


@pytest.mark.parametrize("name", ["rows.npz", "rows.parquet", "rows.safetensors", "rows.h5", "rows.zarr"])
def test_export_and_import_bring_rows_into_another_project(filled, cache, tmp_path, name):
    source = layout.embeddings("demo", "small", "captions")
    assert cache("export", source, tmp_path / name)[0] == 0
    shutil.rmtree(filled / ".hearonce")
    code, out, _ = cache("import", tmp_path / name, "--json")
    assert code == 0 and json.loads(out)[0]["rows_added"] == 6
    np.testing.assert_array_equal(store_of(filled).read([caption_key(text) for text in TEXTS]), values(6))


def test_import_into_another_encoders_store_is_refused(filled, cache, tmp_path):
    other = RowStore.ensure(tmp_path, "captions", "cd" * 16, FORMAT)
    code, _, err = cache("import", layout.embeddings("demo", "small", "captions"), other.path)
    assert code == 2 and "was not imported" in err
    assert len(RowStore.open(other.path)) == 0


def test_convert_there_and_back_gives_the_same_bytes(filled, cache, tmp_path):
    source = layout.embeddings("demo", "small", "clips")
    assert cache("convert", source, tmp_path / "clips.h5")[0] == 0
    assert open_artifact(tmp_path / "clips.h5").ids == ["0", "1", "2", "3"]
    assert cache("convert", tmp_path / "clips.h5", tmp_path / "back.zarr")[0] == 0
    assert everything(tmp_path / "back.zarr") == everything(source)


@pytest.mark.parametrize("name", [".hearonce", "mine", "mine.zarr", "mine.h5", "mine.npz", "data.zarr", "data.npz"])
def test_export_and_convert_replace_nothing_that_hearonce_did_not_make(filled, cache, name):
    source = layout.embeddings("demo", "small", "clips")
    for folder in ("mine", "mine.zarr", "mine.h5", "mine.npz"):
        Path(folder).mkdir()
        (Path(folder) / "thesis.txt").write_text("years of work")
    shutil.copytree(source, "data.zarr")
    (Path("data.zarr") / "thesis.txt").write_text("years of work")
    np.savez("data.npz", years=np.zeros(3))
    before = everything(filled)
    for command in ("export", "convert"):
        code, _, err = cache(command, source, name)
        assert code == 2 and name in err and len(err.splitlines()) == 1, err
    assert everything(filled) == before


@pytest.mark.parametrize("name", ["a.zarr", "a.h5", "a.npz", "a.parquet", "a.safetensors"])
def test_export_replaces_its_own_files_and_what_is_empty(filled, cache, name):
    Path(name).mkdir()
    for modality, rows in (("clips", 4), ("captions", 6)):
        assert cache("export", layout.embeddings("demo", "small", modality), name)[0] == 0
        assert len(open_rows(name).keys) == rows


@pytest.mark.parametrize("name", ["b/x.zarr", "b/x.h5", "b/x.npz"])
def test_a_url_is_no_place_to_write_to(filled, cache, name):
    for command in ("export", "convert"):
        code, _, err = cache(command, layout.embeddings("demo", "small", "clips"), f"memory://{name}")
        assert code == 2 and f"memory://{name}" in err and len(err.splitlines()) == 1
    assert not Path("memory:").exists()


def test_a_typo_says_what_was_meant(filled, cache):
    code, _, err = cache("verfy")
    assert code == 2 and "did you mean 'verify'" in err and "hearonce cache --help" in err


def test_help_lists_the_commands(filled, cache):
    code, out, _ = cache("--help")
    assert code == 0
    assert all(name in out for name in ("ls", "info", "verify", "repair", "gc", "compact", "merge", "export", "import"))


@pytest.mark.parametrize("named", [False, True])
def test_a_lost_description_is_noticed(filled, cache, named):
    artifact, store = layout.embeddings("demo", "small", "clips"), Path(store_of(filled).path)
    (artifact / "zarr.json").unlink()
    (store / "store.json").unlink()
    code, out, _ = cache("verify", "--json", *([artifact, store] if named else []))
    assert code == 3
    assert {(Path(one["path"]).name, one["file"]) for one in json.loads(out)} == {
        (artifact.name, "zarr.json"),
        (store.name, "store.json"),
    }
    code, out, _ = cache("repair", "--json", *([store] if named else []))
    assert (code, [one["file"] for one in json.loads(out)]) == (0, ["store.json"])
    assert len(store_of(filled)) == len(TEXTS) + 1
    code, _, error = cache("gc")
    assert code == 2
    assert "zarr.json is missing" in error
