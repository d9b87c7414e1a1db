"""`hearonce migrate`: configuration of the last version, and what its outputs and store are worth in this one."""

from pathlib import Path

import pytest

from pipeline.config.experiments import load_experiment
from pipeline.config.params import load_params
from pipeline.config.records import read_yaml
from stages.migrate.command import migrate
from stages.train.config import load_training

PARAMS = """\
# mine
corpora: {demo: {media: configs, annotations: configs}}
embeddings:
  demo-yamnet-minilm: {corpus: demo, encoder: yamnet-minilm}  # the first
  demo-clap: {corpus: demo, encoder: laion-clap-seed1}
  demo-spectrogram: {corpus: demo, encoder: avlnet-spectrogram}
  demo-flat: {corpus: demo, encoder: resnet152}
  demo-moving: {corpus: demo, encoder: my-3d}
# what the paper needs
experiments:
  mine-audio: {corpus: demo, encoder: yamnet-minilm}  # table 1
fusions: {}
subsets: {demo-effects: {corpus: demo, subset: effects}}  # few
descriptions: {}
speech: {demo: {corpus: demo, least_share: 0.05}}
levels: {demo: {corpus: demo}}
trainings:
  mine-small: {corpus: demo, sound: avlnet-spectrogram, flat: resnet152, moving: my-3d}
text_trainings: {}
file_trainings:
  howto100m-avlnet: {corpus: howto100m, paths: paths.txt, features: features}
avlnets:
  mine-net: {corpus: demo, encoder: mine-net, config: mine-net, sound: avlnet-spectrogram, flat: resnet152,
             moving: my-3d, checkpoint: data/trainings/mine-small/model.pth}
text_avlnets: {}
avlnet_experiments: {mine-net: {corpus: demo, encoder: mine-net}}
"""


@pytest.fixture
def earlier(project):
    """A project whose own files are as the last version had them."""
    Path("params.yaml").write_text(PARAMS)
    for path, text in {
        "configs/encoders/my-3d.yaml": "family: resnext101-3d\ncheckpoint: c.pth\n",
        "configs/encoders/mine-net.yaml": "family: avlnet\ncheckpoint: data/trainings/mine-small/model.pth\n"
        "flat: resnet152  # 2D\nmoving: my-3d\n",
        "configs/experiments/demo/mine-audio.yaml": "corpus: demo\nencoders: [laion-clap-seed1]  # a remark\n",
        "configs/experiments/demo/mine-net.yaml": "corpus: demo\nencoders: [mine-net]\nprotocol: avlnet\n",
        "configs/corpora/mine.yaml": "reader: epic_mir\nfiles:\n  sound: [a]  # where\n",
        "configs/trainings/demo/mine-small.yaml": "corpus: demo\nmoving: my-3d\nsound_widths: [1, 1, 1, 1, 1]\n",
    }.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    Path("configs/subsets/demo/all.yaml").unlink()
    for encoder in ("resnet152", "laion-clap-seed1", "yamnet-minilm"):
        Path(f"data/embeddings/demo/{encoder}/clips.zarr").mkdir(parents=True)


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_would_change_and_changes_nothing(earlier, capsys):
    before = files(Path())
    migrate(dry_run=True)
    said = capsys.readouterr().out
    assert files(Path()) == before and "nothing has been" in said
    for line in (
        "params.yaml: embeddings.demo-clap: laion-clap-seed1 is renamed to laion-clap@seed1; names what it reads",
        "params.yaml: embeddings.mine-net: mine-net@mine-small, from `avlnets`",
        "params.yaml: labels.demo-speech: from `speech`",
        "params.yaml: 2 comments of what is gone kept at the end of the file",
        "configs/experiments/demo/mine-audio.yaml: encoder laion-clap-seed1 is renamed to laion-clap@seed1",
        "configs/encoders/mine-net.yaml: `flat` is renamed to `features_2d`",
        "configs/corpora/mine.yaml: `files.sound` is renamed to `files.audio`",
        "configs/encoders/my-3d.yaml: moves to configs/encoders/features/my-3d.yaml",
        "data/embeddings/demo/resnet152: moves to data/embeddings/demo/features/resnet152",
    ):
        assert line in said.splitlines(), line


def test_params_configs_and_outputs_are_of_this_version_afterwards(earlier, capsys):
    migrate()
    params = load_params()
    entries = {one.encoder: (one.config.as_posix(), one.reads.as_posix()) for one in params.embeddings.values()}
    assert entries == {
        "yamnet-minilm": ("configs/encoders/yamnet-minilm.yaml", "data/audio/demo.parquet"),
        "laion-clap@seed1": ("configs/encoders/laion-clap.yaml", "data/audio/demo.parquet"),
        "features/avlnet-spectrogram": (
            "configs/encoders/features/avlnet-spectrogram.yaml",
            "data/audio/demo.parquet",
        ),
        "features/resnet152": ("configs/encoders/features/resnet152.yaml", "data/tables/demo/media.parquet"),
        "features/my-3d": ("configs/encoders/features/my-3d.yaml", "data/tables/demo/media.parquet"),
        "mine-net@mine-small": ("data/trainings/mine-small/encoder.yaml", "data/embeddings/demo/features"),
    }
    assert params.subsets_of("demo") == ["effects", "all"] or params.subsets_of("demo") == ["all", "effects"]
    assert params.labels["demo-speech"].least_share == 0.05 and params.labels["demo-levels"].encoder == "audio-level"
    assert params.trainings["mine-small"].reads[1] == Path("data/embeddings/demo/features")
    assert params.trainings["howto100m-avlnet"].features == Path("features")
    text = Path("params.yaml").read_text()
    assert text.startswith("# mine\n") and "encoder: yamnet-minilm, " in text.splitlines()[3]
    assert text.count("# the first") == 1
    kept = text[text.index("# Comments of what this version has no more") :].splitlines()[1:]
    assert sorted(kept) == ["# table 1", "# what the paper needs"] and text.count("# few") == 1
    assert read_yaml(Path("configs/encoders/mine-net.yaml"))["features_3d"] == "features/my-3d"
    training = load_training("mine-small")
    assert training.features_3d == "features/my-3d" and training.audio_widths == (1, 1, 1, 1, 1)
    assert "# 2D" in Path("configs/encoders/mine-net.yaml").read_text()
    assert "# a remark" in Path("configs/experiments/demo/mine-audio.yaml").read_text()
    assert load_experiment("mine-net").encoders == ["mine-net@mine-small"]
    assert "files:\n  audio: [a]  # where" in Path("configs/corpora/mine.yaml").read_text()
    assert read_yaml(Path("configs/subsets/demo/all.yaml")) == {"clips": "all"}
    moved = [path.as_posix() for path in Path("data/embeddings/demo").rglob("clips.zarr")]
    assert sorted(moved) == [
        "data/embeddings/demo/features/resnet152/clips.zarr",
        "data/embeddings/demo/laion-clap@seed1/clips.zarr",
        "data/embeddings/demo/yamnet-minilm/clips.zarr",
    ]
    capsys.readouterr()
    migrate()
    assert "Nothing to migrate" in capsys.readouterr().out
