"""Encoders with several modalities: embedded, scored and searched, each modality of them like an encoder of its own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from filled import pe_av
from media_samples import tone, write_media

from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout
from stages.embed.command import embed
from stages.embed.encode_files import open_encoder
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.score.command import score

ENCODER = "pe-av-tiny"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230)}


@pytest.fixture
def corpus(project, filled_folder):
    """Three films with a colour and a tone of their own, one silent film and one file of audio alone."""
    pe_av.encoder(filled_folder)
    Path("media").mkdir()
    lines = ["file,caption"]
    for number, (name, colour) in enumerate(COLOURS.items()):
        samples = tone(1.0, 48_000, 220 * (number + 1)) / 2
        frames = [np.full((32, 48, 3), colour, np.uint8)] * 30
        write_media(Path(f"media/{name}.mp4"), frames=frames, rate=30, samples=samples, sample_rate=48_000)
        lines.append(f"{name}.mp4,a {name} film")
    write_media(Path("media/silent.mp4"), frames=[np.full((32, 48, 3), 90, np.uint8)] * 30, rate=30)
    soundfile.write("media/dark.wav", tone(1.0, 48_000, 1000) / 2, 48_000)
    Path("captions.csv").write_text("\n".join([*lines, "silent.mp4,a silent film", "dark.wav,no film"]) + "\n")
    config = f"configs/encoders/{ENCODER}.yaml"
    Path(config).write_text(f"family: pe-av\nmodel: {filled_folder / 'pe-av'}\ndim: 24\nframes: 4\n")
    Path("params.yaml").write_text(
        "corpora: {mine: {media: media, annotations: captions.csv}}\n"
        f"embeddings: {{mine: {{corpus: mine, encoder: {ENCODER}, config: {config}, "
        "reads: data/audio/mine.parquet}}\n"
        "subsets: {}\n"
    )
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    Path("configs/experiments/mine").mkdir()
    Path("configs/experiments/mine/table.yaml").write_text(
        "similarity: dot\nrows:\n"
        f"  - encoders: {{audio: {ENCODER}@audio, video: {ENCODER}@video, both: {ENCODER}@audio+video}}\n"
    )
    Path("configs/experiments/mine/cross.yaml").write_text(f"query: audio\nencoders: [{ENCODER}@video]\n")
    ingest("mine")
    extract_audio("mine", keep_going=True)
    return project


def ids(tower: str) -> list[str]:
    return open_artifact(layout.embeddings("mine", ENCODER, tower)).ids


def test_each_modality_is_embedded_scored_and_searched(corpus, capsys, hearonce):
    embed("mine", ENCODER, device="cpu", keep_going=True)
    out = capsys.readouterr().out
    assert "audio+video: 3 rows wanted" in out and "2 clips of media without extracted audio or video left out" in out
    films = ["blue.mp4", "green.mp4", "red.mp4"]
    assert sorted(ids("audio")) == sorted([*films, "dark.wav"])
    assert sorted(ids("video")) == sorted([*films, "silent.mp4"])
    assert sorted(ids("audio+video")) == films
    for tower in ("text-audio", "text-video", "text-audio+video"):
        assert len(ids(tower)) == 5
    # what the cache holds is what the encoder makes of the file by itself
    for modality in ("audio", "video", "audio+video"):
        artifact = open_artifact(layout.embeddings("mine", f"{ENCODER}@{modality}", "clips"))
        row = open_encoder(f"{ENCODER}@{modality}", "cpu").clips(["media/red.mp4"])[0]
        np.testing.assert_allclose(artifact[artifact.ids.index("red.mp4")], row, rtol=0, atol=1e-5)
        texts = open_artifact(layout.embeddings("mine", f"{ENCODER}@{modality}", "captions"))
        text = open_encoder(f"{ENCODER}@{modality}", "cpu").captions(["a red film"])[0]
        assert np.abs(texts.numpy() - text).max(1).min() < 1e-5

    embed("mine", ENCODER, device="cpu", keep_going=True)
    assert capsys.readouterr().out.count(" 0 computed") == 6

    score("mine", "all")
    out = capsys.readouterr().out
    assert "cross: audio to video R@1" in out and "mine-both: text to clip R@1" in out

    code, out, _ = hearonce("search", "mine", "a red film", "--encoder", f"{ENCODER}@video", "--json")
    assert code == 0 and out.count('"clip_id"') == 4
    code, out, _ = hearonce("search", "mine", "--clip", "red.mp4", "--encoder", f"{ENCODER}@video", "--by", "audio")
    assert code == 0 and "silent.mp4" in out and "dark.wav" not in out
    code, out, _ = hearonce("search", "mine", "--audio", "media/dark.wav", "--encoder", ENCODER, "--json")
    assert code == 0 and out.count('"clip_id"') == 3  # the name alone searches audio and video together
    code, _, errors = hearonce("search", "mine", "a film", "--encoder", f"{ENCODER}@video", "--by", "audio")
    assert code == 2 and "--by audio is no use with a text" in errors


def test_a_modality_by_itself_is_no_encoder_to_embed_with(corpus):
    with pytest.raises(UserError, match=f"{ENCODER}@video is one modality of {ENCODER}, which embeds all"):
        embed("mine", f"{ENCODER}@video")


def test_an_encoder_may_have_fewer_modalities_and_others_are_refused(corpus, filled_folder):
    encoder = pe_av.encoder(filled_folder, modalities=["audio"])
    assert encoder.towers == ("audio", "text-audio")
    path = Path(f"configs/encoders/{ENCODER}.yaml")
    path.write_text(path.read_text() + "modalities: [audio]\n")
    with pytest.raises(UserError, match="has no tower 'video': it has audio"):
        open_encoder(f"{ENCODER}@video", "cpu").clips(["media/red.mp4"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("query: audio\nencoders: [yamnet-minilm]\n", "query audio needs encoders of another modality"),
        ("query: video\nencoders: [pe-av-small@video]\n", "such as pe-av-small@audio"),
        ("query: audio\nprotocol: multi-instance\nencoders: [pe-av-small@video]\n", "is for protocol paired-retrieval"),
    ],
)
def test_queries_of_clips_need_a_gallery_of_another_modality(corpus, options, message):
    Path("configs/experiments/mine/cross.yaml").write_text(options)
    with pytest.raises(UserError, match=message):
        score("mine", "all")


def test_two_encoders_of_one_text_space_are_one_of_both_modalities(corpus, capsys):
    name = "yamnet-efficientnet-minilm"
    for encoder in ("yamnet-minilm", "efficientnet-minilm"):
        embed("mine", encoder, device="cpu", keep_going=True)
    capsys.readouterr()
    embed("mine", name, device="cpu", keep_going=True)
    lines = capsys.readouterr().out.splitlines()
    computed = {line.split()[3].rstrip(":"): " 0 computed" not in line for line in lines if line.startswith("embed")}
    assert computed == {
        tower: tower == "audio+video"
        for tower in ("audio", "video", "audio+video", "text-audio", "text-video", "text-audio+video")
    }
    rows = {m: open_artifact(layout.embeddings("mine", f"{name}@{m}", "clips")) for m in layout.MODALITIES}
    both = rows["audio+video"]
    for number, clip in enumerate(both.ids):
        mean = sum(rows[m][rows[m].ids.index(clip)] for m in ("audio", "video"))
        np.testing.assert_allclose(both[number], mean / np.linalg.norm(mean), rtol=0, atol=1e-5)
    Path("configs/encoders/uneven.yaml").write_text("family: joint\naudio: yamnet-minilm\nvideo: clip-vit-b32\n")
    with pytest.raises(UserError):
        embed("mine", "uneven", device="cpu")
    Path("configs/encoders/uneven.yaml").write_text("family: joint\naudio: yamnet-minilm\nvideo: yamnet-minilm\n")
    with pytest.raises(UserError, match="needs an encoder of audio as `audio` and one of video as `video`"):
        embed("mine", "uneven", device="cpu")
