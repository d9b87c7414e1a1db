"""EgoVLP against the original code, with the same filled weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import egovlp as filled
from filled.bert_words import words

from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks import egovlp

FOLDER = Path(__file__).parent / "golden"
GOLDEN = np.load(FOLDER / "egovlp_fit.npz")
TRANSFORM = np.load(FOLDER / "egovlp_transform.npz")
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def clip_tower(filled_folder):
    return filled.encoder(filled_folder).load_clip_tower(CPU)


@pytest.fixture(scope="session")
def caption_tower(filled_folder):
    return filled.encoder(filled_folder).load_caption_tower(CPU)


def golden_frames(clips, count):
    frames = np.random.default_rng(0).standard_normal((clips, count, 3, 224, 224)).astype(np.float32)
    return list(torch.from_numpy(frames))


def agree(ours, golden, atol=1e-4):
    np.testing.assert_allclose(ours, golden, rtol=0, atol=atol)
    cosine = (ours * golden).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(golden, axis=-1)
    assert cosine.min() >= 0.9999


def test_every_official_key_is_there():
    with torch.device("meta"):
        state = egovlp.FrozenInTime(4, "video").state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == {key: shape for key, shape, _ in filled.KEYS}


@pytest.mark.parametrize(("name", "count"), [("video_4f", 4), ("video_1f", 1)])
def test_a_clip_as_the_reference_embeds_it(clip_tower, name, count):
    clips = 1 if count > 1 else 2
    agree(clip_tower.encode(golden_frames(2, count)[:clips]), GOLDEN[name][:clips])


def test_16_frames_with_a_checkpoint_of_4(filled_folder):
    tower = filled.encoder(filled_folder, num_frames=16).load_clip_tower(CPU)
    agree(tower.encode(golden_frames(1, 16)), GOLDEN["video_16f_from_4f_ckpt"])


def test_captions_as_the_reference_embeds_them(caption_tower):
    ids, mask = torch.from_numpy(GOLDEN["ids"]), torch.from_numpy(GOLDEN["mask"])
    agree(caption_tower.encode_ids(ids, mask), GOLDEN["text"])
    agree(caption_tower.encode([row[kept.bool()] for row, kept in zip(ids, mask, strict=True)]), GOLDEN["text"])


@pytest.mark.parametrize("antialias", [False, True])
def test_frames_as_the_reference_scales_them(antialias):
    levels = np.random.default_rng(0).integers(0, 256, (4, 3, 270, 360))
    ours = egovlp.network_input(levels.astype(np.uint8).transpose(0, 2, 3, 1), 4, antialias)
    assert ours.shape == (4, 3, 224, 224) and ours.dtype == torch.float32
    golden = TRANSFORM[f"tsfm_antialias{int(antialias)}_stride8"]
    np.testing.assert_allclose(ours[:, :, ::8, ::8].numpy(), golden, rtol=0, atol=1e-5)


def test_missing_frames_are_zeros_after_normalising():
    picture = np.full((3, 64, 48, 3), 200, np.uint8)
    ours = egovlp.network_input(picture, 16, antialias=False)
    assert ours.shape == (16, 3, 224, 224)
    assert ours[:3].abs().min() > 0 and not ours[3:].any()


def test_a_clip_does_not_depend_on_its_batch(clip_tower):
    random = np.random.default_rng(1)
    clips = [clip_tower.prepare(random.integers(0, 256, (1, 90, 160, 3)).astype(np.uint8), bytes(16)) for _ in range(2)]
    alone = np.concatenate([clip_tower.encode([clip[:1]]) for clip in clips])
    model = clip_tower._model
    with torch.inference_mode():
        together = model.vid_proj(model.video_model(torch.stack([clip[:1] for clip in clips]))).numpy()
    for rows in (together, clip_tower.encode([clip[:1] for clip in clips[::-1]])[::-1]):
        np.testing.assert_allclose(rows, alone, rtol=0, atol=1e-5)


def test_a_caption_does_not_depend_on_its_batch(caption_tower):
    texts = ["Opens the fridge", "", "#C C opens the fridge, " * 9, "naïve 犬"]
    prepared = [caption_tower.prepare(text, bytes(16)) for text in texts]
    assert prepared[0].tolist() == [101, *map(words().index, ("opens", "the", "fridge")), 102]
    assert prepared[1].tolist() == [101, 102]
    alone = np.concatenate([caption_tower.encode([tokens]) for tokens in prepared])
    np.testing.assert_allclose(caption_tower.encode(prepared), alone, rtol=0, atol=1e-5)


def test_a_very_long_caption_is_cut(caption_tower):
    tokens = caption_tower.prepare("fridge " * 3000, bytes(16))
    assert len(tokens) == 512 and tokens[-1] == 102


def test_temporal_embeddings_are_cut_or_filled_with_zeros():
    embedding = torch.arange(1.0, 13).reshape(1, 4, 3)
    assert egovlp.fit_frames(embedding, 2).tolist() == embedding[:, :2].tolist()
    filled_up = egovlp.fit_frames(embedding, 6)
    assert filled_up[:, :4].tolist() == embedding.tolist() and not filled_up[:, 4:].any()


def test_a_checkpoint_of_another_architecture_lists_its_keys(filled_folder, tmp_path):
    weights = {f"module.{key}": torch.zeros(shape, device="meta") for key, shape, _ in filled.KEYS}
    weights = {key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}
    weights["module.video_model.head.weight"] = weights.pop("module.vid_proj.0.weight")
    path = tmp_path / "other.pth"
    torch.save({"state_dict_v": weights}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of EgoVLP") as caught:
        filled.encoder(filled_folder, checkpoint=path).load_clip_tower(CPU)
    assert str(caught.value).splitlines()[1:] == [
        "1 missing:",
        "  vid_proj.0.weight",
        "1 unexpected:",
        "  video_model.head.weight",
    ]


def test_a_vocabulary_of_another_model_is_refused(filled_folder, tmp_path):
    (tmp_path / "vocab.txt").write_text("<s>\n<pad>\n</s>\n")
    with pytest.raises(CheckpointError, match="not the vocabulary of distilbert-base-uncased"):
        filled.encoder(filled_folder, text_model=str(tmp_path)).load_caption_tower(CPU)
