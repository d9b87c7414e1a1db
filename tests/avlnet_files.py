"""Files in exactly the form in which AVLnet's authors publish clips: lists of dicts, pickled with tensors; small."""

import json
import pickle

import numpy as np
import torch

LENGTHS = (300, 64, 150, 90, 20, 210, 33)


def clip(number, prefix="yc", halves=True, **more):
    rng = np.random.default_rng(number)
    flat, moving = (np.abs(rng.standard_normal(2048)).astype(np.float16 if halves else np.float32) for _ in range(2))
    audio = torch.from_numpy((rng.standard_normal((40, LENGTHS[number % 7])) * 9 - 40).astype(np.float32))
    return {
        "id": f"{prefix}{number}",
        "2d": flat.astype(np.float32),
        "3d": moving.astype(np.float32),
        "audio": audio,
        **more,
    }


def youcook(folder, protocol=3):
    """Training clips 0 to 3, validation clips 4 to 8, of which 4 and 6 are sounds and 5 is speech; by file name."""
    train = [clip(n, caption=f"step {n}") for n in range(4)]
    val = [
        clip(n, caption=f"step {n}", task=7, start=np.int64(n), end=n + 4.5, video_id=f"v{n // 2}") for n in range(4, 9)
    ]
    files = {
        "youcook_train_audio.pkl": train,
        "youcook_val_audio.pkl": val,
        "youcook_val_sounds241.pkl": [val[0], val[2]],
        "youcook_val_speech241.pkl": [val[1]],
    }
    write(folder, files, protocol)
    return files


def msrvtt(folder):
    """Pooled features that are not whole in half precision, beside those over time; lists of captions."""

    def one(number, **more):
        made = clip(number, "video", halves=False)
        pooled = {"2d_pooled": made["2d"], "3d_pooled": made["3d"]}
        over_time = {"2d": np.stack([made["2d"]] * 3), "3d": np.stack([made["3d"]] * 4)}
        captions = [f"{number} is seen", f"a video of {number}", f"{number} is seen"]
        return {**made, **over_time, **pooled, "caption": captions, **more}

    files = {
        "msrvtt_train.pkl": [one(n) for n in range(3)],
        "msrvtt_1k-A_train.pkl": [one(n) for n in range(5)],
        "msrvtt_jsfusion_test.pkl": [one(n, eval_caption=f"a video of {n}") for n in range(5, 7)],
    }
    write(folder, files)
    return files


def japanese(folder):
    """Three splits, and the list of videos without the one of the last clip."""
    splits = {"train": range(3), "val": range(3, 5), "eval": range(5, 7)}
    files = {
        f"youcook_japanese_{name}.pkl": [
            clip(n, "jp", start=float(n), end=n + 2.0, video_id=f"j{n}", caption="玉ねぎを切る") for n in numbers
        ]
        for name, numbers in splits.items()
    }
    write(folder, files)
    (folder / "youcook_japanese_v1.json").write_text(json.dumps({"videos": [{"id": f"j{n}"} for n in range(6)]}))
    return files


def write(folder, files, protocol=3):
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in files.items():
        (folder / name).write_bytes(pickle.dumps(clips, protocol))
