"""`PYTHONPATH=tests python -m miniature.build FOLDER`: the miniature corpora, in a few seconds.

FOLDER/epic and FOLDER/ego4d are media folders, FOLDER/retrieval_annotations and FOLDER/egomcq annotation folders, as
`params.yaml` names them for `epic-mir`, `epic-sounds` and `ego-mcq`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from miniature.demo_clips import demo_clips
from miniature.ego import build_ego
from miniature.epic import build_epic

PLACES = {
    "epic-mir": ("epic", "retrieval_annotations"),
    "epic-sounds": ("epic", "retrieval_annotations"),
    "ego-mcq": ("ego4d", "egomcq"),
}


def build(folder: Path) -> None:
    """Writes all three corpora below a folder."""
    clips = demo_clips()
    build_epic(clips, folder / "epic", folder / "retrieval_annotations")
    build_ego(clips, folder / "ego4d", folder / "egomcq")


def params(folder: Path) -> dict[str, dict[str, str]]:
    """The entries of `corpora` in `params.yaml`."""
    return {
        name: {"media": (folder / media).as_posix(), "annotations": (folder / annotations).as_posix()}
        for name, (media, annotations) in PLACES.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    build(parser.parse_args().folder)
