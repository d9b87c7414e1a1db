"""Media of clips whose tables name what is not theirs."""

from pathlib import Path

import pytest

from hearonce.server.clips import _missing
from hearonce.server.previews import source_of
from pipeline.media.containers import MediaError
from pipeline.media.location import MediaFolder


@pytest.mark.parametrize("path", ("/etc/passwd", "../secret.wav", "a/../../secret.wav"))
def test_a_table_cannot_name_files_outside_of_the_media_folder(tmp_path: Path, path):
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    (tmp_path / "media/a").mkdir(parents=True)
    place = MediaFolder(tmp_path / "media")
    with pytest.raises(MediaError, match="no path below the folder"):
        source_of(place, path)
    assert _missing(place, path) and not _missing(place, "a")
