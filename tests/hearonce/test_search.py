"""`hearonce search` and `hearonce.search` over the demo's cached embeddings."""

import json
from pathlib import Path

import pytest

import hearonce as facade
from cache.errors import UserError


def test_text_file_and_clip_find_what_they_mean(demo, hearonce):
    found = facade.search("demo", "dogs bark", top=5, device="cpu")
    assert found["clip_id"][0] == "dogs-barking.mp4" and found["rank"].to_list() == [1, 2, 3, 4, 5]
    assert found["captions"][0].to_list() == ["Two dogs bark at each other.", "Dogs are barking."]
    assert found["score"].is_sorted(descending=True) and found["start_s"][0] == 0.0
    medium = Path("configs/corpora/demo/media/cat-meow.mp4")
    by_file = facade.search("demo", audio=medium, top=1, device="cpu")
    assert by_file["clip_id"].to_list() == ["cat-meow.mp4"] and by_file["score"][0] == pytest.approx(1, abs=1e-5)
    alike = facade.search("demo", clip="cat-meow.mp4", top=60)
    assert len(alike) == 57 and "cat-meow.mp4" not in alike["clip_id"]
    few = facade.search("demo", "dogs bark", where="clip_id LIKE 'c%'", device="cpu")
    assert all(one.startswith("c") for one in few["clip_id"]) and len(few)
    scenes = facade.search("demo", clip="dogs-barking.mp4", subset="scenes", top=100)
    assert 0 < len(scenes) < 57
    fused = facade.search("demo", clip="cat-meow.mp4", encoders=["yamnet-minilm"] * 2, weights=[1, 3], top=60)
    assert fused["clip_id"].to_list() == alike["clip_id"].to_list()
    code, out, _ = hearonce("search", "demo", "--clip", "cat-meow.mp4", "--top", "2", "--json")
    assert code == 0 and [one["clip_id"] for one in json.loads(out)] == alike["clip_id"].to_list()[:2]
    code, out, _ = hearonce("search", "demo", "--clip", "cat-meow.mp4", "--top", "2")
    assert code == 0 and alike["clip_id"][0] in out
    saving = ("search", "demo", "--clip", "cat-meow.mp4", "--top", "3", "--save", "like-a-cat")
    code, out, err = hearonce(*saving, "--json")
    assert code == 0 and len(json.loads(out)) == 3 and "`hearonce score demo like-a-cat`" in err
    kept = facade.search("demo", "a cat", subset="like-a-cat", device="cpu")
    assert set(kept["clip_id"]) == set(alike["clip_id"].to_list()[:3])
    assert hearonce("score", "demo", "like-a-cat")[0] == 0
    code, _, err = hearonce(*saving)
    assert code == 2 and "There is a subset 'like-a-cat' already" in err

    for given, message in (
        ({}, "Give one query"),
        ({"text": "a", "clip": "b"}, "Give one query"),
        ({"text": " "}, "The query is empty"),
        ({"clip": "cat-meoww.mp4"}, "did you mean 'cat-meow.mp4'"),
        ({"video": medium, "encoders": "yamnet-minilm"}, "'yamnet-minilm' embeds audio, not video: give --audio"),
        ({"text": "a", "encoders": "laion-clap"}, "is missing: list encoder 'laion-clap'"),
        ({"text": "a", "where": "lenght > 1"}, "--where: .*cannot be understood"),
        ({"clip": "cat-meow.mp4", "subset": "scens"}, "did you mean 'scenes'"),
        ({"audio": "none.wav"}, "none.wav"),
    ):
        with pytest.raises(UserError, match=message):
            facade.search("demo", device="cpu", **given)
    with pytest.raises(UserError, match=r"No corpus 'dmo' in params.yaml: did you mean 'demo'"):
        facade.search("dmo", "a")
