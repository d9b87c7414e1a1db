from pathlib import Path

import pytest
from avlnet_samples import CORPUS, write_corpus


@pytest.fixture
def corpus(project):
    """The current project with a corpus whose features are cached, and its clip ids."""
    folder = Path("configs/subsets") / CORPUS
    folder.mkdir()
    clips = write_corpus()
    (folder / "few.yaml").write_text(f"clips: {clips[3:7]}\n")
    return clips
