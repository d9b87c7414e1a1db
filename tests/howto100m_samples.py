"""Feature files, a path list and captions as HowTo100M is laid out for AVLnet; small."""

import csv

import numpy as np

PATHS = ["food/video_a/aaa", "None/video_b/bbb", "hobbies/video_c/ccc"]
SECONDS = {"aaa": 40, "bbb": 12, "ccc": 3}
CAPTIONS = {
    "aaa": {
        "start": [0.0, 3.5, 5.0, 12.25, 20.0, 33.3],
        "end": [3.0, 5.0, 9.75, 18.0, 31.0, 39.5],
        "text": ["first we cut", "the onion, uh", "and fry it", "then add salt", "stir it well", "serve the dish now"],
    },
    "bbb": {"start": [0.5, 2.0, 2.5], "end": [1.5, 2.25, 4.0], "text": ["one", "two words", "three more words"]},
    "ccc": {"start": [0.02], "end": [50.0], "text": ["alone"]},
}


def build(root):
    """Writes `paths.csv`, `features/` and `sounds/`; the features of `ccc` end before its caption does."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "paths.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *([path] for path in PATHS)])
    for number, path in enumerate(PATHS):
        folder = path.replace("None/", "")
        id = folder.rpartition("/")[2]
        rng = np.random.default_rng(number)
        for kind in ("features", "sounds"):
            (root / kind / folder).mkdir(parents=True, exist_ok=True)
        seconds = SECONDS[id]
        flat, moving = (rng.standard_normal((n, 5)).astype(np.float16) for n in (seconds, int(seconds * 1.5)))
        np.savez(root / "features" / folder / f"{id}_2d.npz", features=flat)
        np.savez(root / "features" / folder / f"{id}_3d.npz", features=moving)
        spectrogram = (rng.standard_normal((40, seconds * 100 + 1)) * 10 - 40).astype(np.float16)
        np.savez(root / "sounds" / folder / f"{id}_spec.npz", spectrogram)
