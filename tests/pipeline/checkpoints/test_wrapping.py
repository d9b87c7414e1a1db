"""Archives in the layout that AVLnet's README describes end in the paths that the shipped configs name."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.checkpoints.catalogue import load_catalogue
from pipeline.checkpoints.unpack import lift
from pipeline.config.corpus import load_corpus
from pipeline.config.records import read_yaml
from stages.train.config import load_training

DATA = b"bytes of a file" * 9
RELEASE = ("AVLnet_release.pth", "AVLnet_Text_Tri_release.pth", "AVLnet_Text_Fused_release.pth", "resnext101.pth")
PICKLES = [
    name for corpus in ("youcook2", "msrvtt", "crosstask") for name in load_corpus(corpus).files.subsets.values()
]
JAPANESE = [*load_corpus("youcook-japanese").files.subsets.values(), load_corpus("youcook-japanese").files.videos]
ARCHIVES = {
    "AVLnet_release_models": ("AVLnet_release", RELEASE),
    "AVLnet_release_data": ("data", PICKLES),
    "YouCook_Japanese": ("YouCook_Japanese", JAPANESE),
}


def pack(path, names, top="", junk=()):
    with tarfile.open(path, "w:gz") as archive:
        for name in [*(f"{top}/{one}" if top else one for one in names), *junk]:
            member = tarfile.TarInfo(name)
            member.size = len(DATA)
            archive.addfile(member, io.BytesIO(DATA))
    return path


@pytest.mark.parametrize("top", ["as published", "another", "a/deeper", "./dotted", ""])
def test_whatever_top_folder_an_archive_has_its_files_end_where_configs_look(project, checkpoints, tmp_path, top):
    for name, (published, files) in ARCHIVES.items():
        junk = ["._x", "__MACOSX/._y"] if top == "another" else []
        archive = pack(tmp_path / f"{name}.tar.gz?dl=1", files, published if top == "as published" else top, junk)
        code, _, err = checkpoints("fetch", name, "--from", archive, "--unpack")
        assert code == 0, err
    named = [read_yaml(path).get("checkpoint") for path in Path("configs/encoders").rglob("*.yaml")]
    named += [read_yaml(path).get("start") for path in Path("configs/trainings").glob("*/*.yaml")]
    named = {one for one in named if one and "AVLnet_release_models" in one}
    assert {Path(one).name for one in named} == set(RELEASE)
    named |= {f"annotations/avlnet/AVLnet_release_data/{one}" for one in PICKLES}
    named |= {f"annotations/avlnet/YouCook_Japanese/{one}" for one in JAPANESE}
    for path in named:
        assert Path(path).read_bytes() == DATA, path


def test_a_folder_that_was_unpacked_with_its_top_folder_is_lifted(project, checkpoints, tmp_path):
    """By an earlier version, or because the lifting was interrupted halfway."""
    folder = Path("checkpoints/AVLnet_release_models")
    (folder / "AVLnet_release").mkdir(parents=True)
    for number, name in enumerate(RELEASE):
        (folder / ("AVLnet_release" if number else "") / name).write_bytes(DATA)
    archive = pack(tmp_path / "AVLnet_release_models.tar.gz", RELEASE, "AVLnet_release")
    assert checkpoints("fetch", "AVLnet_release_models", "--from", archive, "--unpack")[0] == 0
    assert sorted(one.name for one in folder.iterdir()) == sorted(RELEASE)


def test_a_folder_with_files_of_another_source_is_filled(project, checkpoints, tmp_path):
    """`fetch resnext101` puts its file into the folder that the archive becomes."""
    folder = Path("checkpoints/AVLnet_release_models")
    folder.mkdir(parents=True)
    (folder / "resnext101.pth").write_bytes(b"mine")
    archive = pack(tmp_path / "AVLnet_release_models.tar.gz", RELEASE, "AVLnet_release")
    code, _, err = checkpoints("fetch", "AVLnet_release_models", "--from", archive, "--unpack")
    assert code == 0, err
    assert sorted(one.name for one in folder.iterdir()) == sorted(RELEASE)
    assert (folder / "resnext101.pth").read_bytes() == b"mine"
    assert sorted(one.name for one in Path("checkpoints").iterdir() if one.is_dir()) == ["AVLnet_release_models"]


def test_an_archive_without_the_expected_files_says_what_lacks_and_what_is_there(project, checkpoints, tmp_path):
    archive = pack(tmp_path / "AVLnet_release_models.tar.gz", RELEASE[:2], "AVLnet_release")
    code, _, err = checkpoints("fetch", "AVLnet_release_models", "--from", archive, "--unpack")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "lacks AVLnet_Text_Fused_release.pth (it has AVLnet_Text_Tri_release.pth, AVLnet_release.pth)" in err
    folder = Path("checkpoints/AVLnet_release_models")
    (folder / RELEASE[2]).write_bytes(DATA)
    assert checkpoints("fetch", "AVLnet_release_models", "--unpack")[0] == 0


def test_files_of_one_name_are_both_kept(tmp_path):
    for path in ("data/data/a", "data/b"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    lift(tmp_path)
    assert (tmp_path / "data/a").read_text() == "data/data/a"
    (tmp_path / "wrapped").mkdir()
    (tmp_path / "wrapped/b").write_text("other")
    (tmp_path / "wrapped/c").write_text("c")
    lift(tmp_path, ["c"])
    assert (tmp_path / "b").read_text() == "data/b"
    assert (tmp_path / "wrapped/b").read_text() == "other"


def test_holds_are_of_archives_only(project):
    catalogue = load_catalogue()
    assert {name for name, one in catalogue.items() if one.holds and one.file} == {*ARCHIVES, "HowTo100M"}


@pytest.mark.parametrize("form", ["caption.pickle", "caption.json"])
def test_howto100m_has_its_captions_in_either_form_and_trainings_take_it(project, checkpoints, tmp_path, form):
    archive = tmp_path / "HowTo100M.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"HowTo100M/{form}", "{}")
    code, _, err = checkpoints("fetch", "HowTo100M", "--from", archive, "--unpack")
    assert code == 0, err
    files = load_training("howto100m-tri").files
    assert files.captions == Path("annotations/avlnet/HowTo100M") / form
    files.captions.unlink()
    assert load_training("howto100m-tri").files.captions == Path("annotations/avlnet/HowTo100M/caption.pickle")
