"""The JSON API of a running server: routes, bad requests, strangers, and what changes while it runs."""

import io
import json
import shutil
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import av
import httpx2 as httpx
import numpy as np
import polars as pl
import pytest
import soundfile

from hearonce.server.guard import HEADERS

CHANGING = {"X-Hearonce": "1"}


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.address, timeout=120) as client:
        yield client


def found(client, **query):
    answer = client.post("/api/search", json={"corpus": "demo", **query}, headers=CHANGING)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_text_a_clip_and_a_file_find_what_they_mean(client, server):
    (corpus,) = client.get("/api/corpora").json()
    assert corpus["clips"] == 58 and corpus["subsets"] == ["effects", "scenes"] and corpus["maps"] == ["yamnet-minilm"]
    by_name = {one["name"]: one for one in corpus["encoders"]}
    audio = by_name["yamnet-minilm"]
    assert audio["text"] and audio["audio"] and not audio["video"] and audio["default"] and audio["problem"] is None
    answer = found(client, text="dogs bark", limit=3)
    assert answer["total"] == 58 and [one["rank"] for one in answer["results"]] == [1, 2, 3]
    first = answer["results"][0]
    assert first["clip_id"] == "dogs-barking.mp4" and first["subsets"] == ["scenes"] and not first["missing"]
    assert first["score"] == first["score_embedding"] and first["score_words"] is None
    rest = found(client, text="dogs bark", offset=3, limit=200)["results"]
    assert len(rest) == 55 and len({one["clip_id"] for one in [*answer["results"], *rest]}) == 58
    by_get = client.get("/api/search", params={"corpus": "demo", "text": "dogs bark", "limit": 3}).json()
    assert by_get["results"] == answer["results"]
    alike = found(client, clip="cat-meow.mp4", subset="scenes", where="duration_s < 5")
    assert 0 < alike["total"] < 40 and "cat-meow.mp4" not in {one["clip_id"] for one in alike["results"]}
    words = found(client, text="menacing growl", words=1.0, limit=2)["results"]
    assert words[0]["clip_id"] == "growl.mp4" and words[0]["score_words"] == 1.0
    fused = found(client, text="dogs bark", encoders=["yamnet-minilm", "efficientnet-minilm"], weights=[1, 0])
    assert [one["clip_id"] for one in fused["results"][:3]] == [one["clip_id"] for one in answer["results"]]

    raw = Path(server.root / "configs/corpora/demo/media/owl.mp4").read_bytes()
    kept = client.post("/api/uploads?name=owl.mp4", content=raw, headers=CHANGING).json()
    assert kept["has_audio"] and kept["has_video"] and kept["duration_s"] == 8.5
    by_file = found(client, upload=kept["upload"], limit=1)["results"][0]
    assert by_file["clip_id"] == "owl.mp4" and by_file["score"] > 0.999
    by_frames = found(client, upload=kept["upload"], encoders=["efficientnet-minilm"], limit=1)["results"][0]
    assert by_frames["clip_id"] == "owl.mp4"


def test_media_in_ranges_previews_images_and_exact_cuts(client, server):
    clip = {"corpus": "demo", "clip": "owl.mp4"}
    whole = (server.root / "configs/corpora/demo/media/owl.mp4").read_bytes()
    answer = client.get("/media", params=clip, headers={"Range": "bytes=10-19"})
    assert answer.status_code == 206 and answer.content == whole[10:20]
    assert (
        answer.headers["content-range"] == f"bytes 10-19/{len(whole)}" and answer.headers["content-type"] == "video/mp4"
    )
    assert client.get("/media", params=clip, headers={"Range": "bytes=-5"}).content == whole[-5:]
    assert client.get("/media", params=clip, headers={"Range": f"bytes=5-{10**30}"}).content == whole[5:]
    for lying in (f"bytes={len(whole)}-", "bytes=9-3", "bytes=a-b", "bytes=", "chapters=1-2", "bytes=--5"):
        assert client.get("/media", params=clip, headers={"Range": lying}).status_code in (200, 400, 416), lying
    assert client.get("/media", params=clip, headers={"Range": "bytes=0-1,5-6"}).status_code == 206
    assert client.get("/media", params=clip).content == whole
    head = client.head("/media", params=clip)
    assert head.headers["content-length"] == str(len(whole)) and not head.content

    preview = client.get("/preview", params=clip)
    assert preview.headers["content-type"] == "video/webm"
    with av.open(io.BytesIO(preview.content)) as container:
        assert {stream.codec.name for stream in container.streams} == {"vp8", "opus"}
        assert container.duration / 1e6 == pytest.approx(8.5, abs=0.1)
    for kind in ("frame", "waveform", "spectrogram"):
        image = client.get("/image", params={**clip, "kind": kind})
        assert image.status_code == 200 and image.headers["content-type"].startswith("image/"), image.text

    cut = client.get("/cut", params={**clip, "start": 1, "stop": 2.5})
    assert 'filename="owl-1-2.5.mp4"' in cut.headers["content-disposition"]
    with av.open(io.BytesIO(cut.content)) as container:
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(
            1.5, abs=0.05
        )
        assert container.streams.audio[0].codec.name == "aac"
    assert client.get("/cut", params={**clip, "start": 2, "stop": 1}).status_code == 422


def test_bad_requests_get_a_sentence(client):
    for path, query, status, message in (
        ("/api/search", {"corpus": "demo"}, 422, "Give one query"),
        ("/api/search", {"corpus": "demo", "text": "a", "clip": "b"}, 422, "Give one query"),
        ("/api/search", {"corpus": "demo", "text": " "}, 422, "The query is empty"),
        ("/api/search", {"corpus": "dmo", "text": "a"}, 404, "did you mean 'demo'"),
        ("/api/search", {"corpus": "demo", "text": "a", "encoders": "../demo/yamnet-minilm"}, 404, "has no encoder"),
        ("/api/search", {"corpus": "demo", "text": "a", "subset": "../all"}, 404, "has no subset"),
        ("/api/search", {"corpus": "demo", "text": "a", "where": "lenght > 1"}, 422, "cannot be understood"),
        ("/api/search", {"corpus": "demo", "text": "a", "limit": 1000}, 422, "limit: Input should be less"),
        ("/api/search", {"corpus": "demo", "upload": "../../x"}, 422, "upload it again"),
        ("/api/clip", {"corpus": "demo", "clip": "../params.yaml"}, 422, "has no clip"),
        ("/media", {"corpus": "demo", "clip": "/etc/passwd"}, 404, "has no clip"),
        ("/api/search", {"corpus": "demo", "text": "a", "where": "clip_id IN (SELECT 1)"}, 422, "must not contain"),
        (
            "/api/map",
            {"corpus": "demo", "encoder": "efficientnet-minilm"},
            404,
            "hearonce map demo efficientnet-minilm",
        ),
        ("/static/../app.py", {}, 404, "Not Found"),
        ("/static/", {}, 404, "Not Found"),
        ("/static", {}, 404, "Not Found"),
    ):
        answer = client.get(path, params=query)
        assert answer.status_code == status and message in answer.json()["error"], (path, query, answer.text)
    for body, message in (
        (b"", "The file is empty"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "a playlist that names other files"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing (SVG)"),
        (b"PK\x03\x04" + bytes(100), "an archive (ZIP)"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", "media file"),
    ):
        answer = client.post("/api/uploads?name=x", content=body, headers=CHANGING)
        assert answer.status_code == 422 and message in answer.json()["error"], answer.text
    silent = io.BytesIO()
    with av.open(silent, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 64
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    kept = client.post("/api/uploads?name=x", content=silent.getvalue(), headers=CHANGING).json()
    assert kept["has_video"] and not kept["has_audio"]
    answer = client.post(
        "/api/search",
        json={"corpus": "demo", "upload": kept["upload"], "encoders": ["yamnet-minilm"]},
        headers=CHANGING,
    )
    assert answer.status_code == 422 and "no " in answer.json()["error"]


def test_strangers_are_refused(client, server):
    body = {"corpus": "demo", "text": "a"}
    assert client.post("/api/search", json=body).status_code == 403
    assert (
        client.post("/api/search", json=body, headers={**CHANGING, "Origin": "https://example.org"}).status_code == 403
    )
    assert client.get("/api/corpora", headers={"Host": "attacker.example"}).status_code == 403
    form = {**CHANGING, "Content-Type": "text/plain"}
    assert client.post("/api/subsets", content=json.dumps(body), headers=form).status_code == 415
    page = client.get("/")
    assert all(page.headers[name] == value for name, value in HEADERS.items())
    assert "script-src 'self'" in page.headers["content-security-policy"]
    host, port = urlsplit(server.address).netloc.split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    for connection in slow:
        connection.sendall(
            b"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nX-Hearonce: 1\r\nContent-Length: 999999\r\n\r\nab"
        )
    assert client.get("/api/corpora").status_code == 200
    for connection in slow:
        connection.close()


def test_a_subset_is_saved_searched_and_listed(client, server):
    clips = ["cat-meow.mp4", "owl.mp4", "owl.mp4"]
    answer = client.post(
        "/api/subsets",
        json={"corpus": "demo", "name": "my-animals", "clips": clips, "note": "a\nb: c"},
        headers=CHANGING,
    ).json()
    assert answer == {
        "path": "configs/subsets/demo/my-animals.yaml", "clips": 2, "command": "hearonce score demo my-animals",
    }  # fmt: skip
    assert (server.root / answer["path"]).read_text() == "# a\n# b: c\nclips:\n- cat-meow.mp4\n- owl.mp4\n"
    assert {one["clip_id"] for one in found(client, text="owl", subset="my-animals")["results"]} == set(clips)
    assert "my-animals" in client.get("/api/corpora").json()[0]["subsets"]
    for name, message in (("my-animals", "There is a subset"), ("../x", "take letters"), ("all", "take letters")):
        answer = client.post("/api/subsets", json={"corpus": "demo", "name": name, "clips": clips}, headers=CHANGING)
        assert answer.status_code == 422 and message in answer.json()["error"]
    answer = client.post("/api/subsets", json={"corpus": "demo", "name": "x", "clips": ["no.mp4"]}, headers=CHANGING)
    assert answer.status_code == 422 and "has no clip 'no.mp4'" in answer.json()["error"]


def test_many_at_once_get_the_same_answers(client, server):
    texts = ["dogs bark", "a cat", "rain", "an engine starts"]
    expected = {text: [one["clip_id"] for one in found(client, text=text)["results"]] for text in texts}
    errors: list[object] = []

    def user(number):
        with httpx.Client(base_url=server.address, timeout=60) as own:
            for turn in range(6):
                text = texts[(number + turn) % len(texts)]
                ids = [one["clip_id"] for one in found(own, text=text)["results"]]
                if ids != expected[text]:
                    errors.append((text, ids))
                found(own, text=f"{text} {number} {turn}")

    def memory():
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def crowd():
        threads = [threading.Thread(target=user, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    crowd()
    before = memory()
    crowd()
    assert not errors and memory() - before < 60


def test_media_moved_away_and_tables_replaced_while_serving(client, server):
    medium = server.root / "configs/corpora/demo/media/frogs.mp4"
    shutil.move(medium, medium.with_suffix(".away"))
    try:
        first = found(client, text="frogs croak", limit=60)["results"]
        assert [one["clip_id"] for one in first if one["missing"]] == ["frogs.mp4"]
        answer = client.get("/media", params={"corpus": "demo", "clip": "frogs.mp4"})
        assert answer.status_code == 404 and "moved away" in answer.json()["error"]
    finally:
        shutil.move(medium.with_suffix(".away"), medium)
    table = server.root / "data/tables/demo/captions.parquet"
    changed = pl.read_parquet(table).with_columns(pl.col("text").str.replace("Frogs", "Toads"))
    changed.write_parquet(table.with_suffix(".new"), metadata={"hearonce.schema": "1"})
    table.with_suffix(".new").replace(table)
    time.sleep(0.01)
    assert any("Toads" in text for one in found(client, text="frogs")["results"] for text in one["captions"])


def test_a_cut_of_audio_has_exactly_its_samples(demo, tmp_path):
    from hearonce.searcher import Searcher
    from hearonce.server.clips import Clips
    from hearonce.server.previews import Media, cut
    from hearonce.server.worker import Workers

    media = Clips(Searcher("cpu"), Workers()).media("demo", "owl.mp4")
    cut(Media("demo", media.audio).cut(0.5, 1.25), tmp_path / "cut.flac")
    samples, rate = soundfile.read(tmp_path / "cut.flac", dtype="int16")
    (whole,) = Path(".hearonce/audio").glob(f"*/*/{media.audio[0].media_digest}.flac")
    expected, _ = soundfile.read(whole, dtype="int16")
    assert np.array_equal(samples, expected[round(0.5 * rate) : round(1.25 * rate)])


def test_an_address_that_others_reach_needs_a_token(demo, hearonce, request):
    code, _, err = hearonce("serve", "--host", "0.0.0.0")
    assert code == 2 and "give --token" in err
    code, _, err = hearonce("serve", "--token", "short")
    assert code == 2 and "8 to 200 letters" in err
    code, _, err = hearonce("serve", "dmo")
    assert code == 2 and "did you mean 'demo'" in err
    running = type(request.getfixturevalue("server"))(demo, "--token", "open-sesame")
    try:
        with httpx.Client(base_url=running.address, timeout=30) as client:
            assert client.get("/api/corpora").status_code == 401
            assert client.get("/static/app.js").status_code == 401
            assert client.get("/?token=open-sesamf").status_code == 401
            bearer = {"Authorization": "Bearer open-sesame"}
            assert client.get("/api/corpora", headers=bearer).status_code == 200
            signed_in = client.get("/?token=open-sesame")
            assert signed_in.status_code == 303 and "HttpOnly; SameSite=Strict" in signed_in.headers["set-cookie"]
            cookie = signed_in.headers["set-cookie"].partition(";")[0]
            assert client.get("/api/corpora", headers={"Cookie": cookie}).status_code == 200
    finally:
        running.close()
