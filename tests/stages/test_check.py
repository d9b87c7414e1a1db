import shutil
from pathlib import Path

import pytest
import yaml

from cache.errors import UserError
from stages.check import check

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def demo(project):
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    Path("configs/corpora/demo/media").mkdir()
    return Path("params.yaml")


def test_the_shipped_params_fit(demo, capsys):
    check()
    assert "1 corpus, 2 embeddings, 3 experiments" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("embeddings:", "embedings:", "unknown key 'embedings', did you mean 'embeddings'"),
        (
            "demo-yamnet-minilm: {corpus: demo,",
            "demo-yamnet-minilm: {corpus: dmo,",
            "no corpus 'dmo', did you mean 'demo'",
        ),
        (
            "encoder: efficientnet-minilm}\n\n#",
            "encoder: efficientnet-minlm}\n\n#",
            "did you mean 'efficientnet-minilm'",
        ),
        ("demo-audio:", "demo-adio:", "No experiment 'demo-adio' .*did you mean 'demo-audio'"),
        ("descriptions: {}", "descriptions: {dmo: [qwen-here]}", "descriptions: no corpus 'dmo', did you mean 'demo'"),
        ("descriptions: {}", "descriptions: {demo: [qwen-her]}", "No description 'qwen-her' .*mean 'qwen-here'"),
        ("imports: {}\n", "", "lacks imports, which dvc.yaml reads: add `imports: {}`"),
        ("media: configs/corpora/demo/media", "media: nowhere", "names nowhere, which does not exist"),
    ],
)
def test_what_does_not_fit_is_named(demo, old, new, message):
    text = demo.read_text()
    assert old in text
    demo.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        check()


def test_an_experiment_needs_its_embedding(demo):
    text = demo.read_text()
    demo.write_text(text.replace("  demo-yamnet-minilm: {corpus: demo, encoder: yamnet-minilm}\n", ""))
    with pytest.raises(UserError, match="'demo-audio' reads demo embedded by yamnet-minilm, which `embeddings` lacks"):
        check()


def test_a_described_source_needs_its_description(demo):
    path = Path("configs/experiments/demo/demo-audio.yaml")
    path.write_text(path.read_text().replace("given", "described-qwen-here"))
    with pytest.raises(UserError, match="which `descriptions` of demo does not make, known: none"):
        check()
    demo.write_text(demo.read_text().replace("descriptions: {}", "descriptions: {demo: [qwen-here]}"))
    check()


def test_a_training_needs_what_it_reads_and_is_evaluated_on(demo, capsys):
    features = {"sound": "avlnet-spectrogram", "flat": "resnet152", "moving": "resnext101-3d"}
    config = Path("configs/trainings/demo/whole-videos.yaml")
    config.parent.mkdir()
    config.write_text(
        "corpus: demo\nevaluate_on: scenes\nfiles: {paths: videos.csv, features: .}\nwindows: {frames: 9}\n"
    )
    params = yaml.safe_load(demo.read_text())
    params["trainings"]["whole-videos"] = {"corpus": "demo", **features}
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="whole-videos reads demo embedded by avlnet-spectrogram, which `embeddings`"):
        check()
    params["embeddings"] |= {encoder: {"corpus": "demo", "encoder": encoder} for encoder in features.values()}
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"trainings\.whole-videos: videos\.csv is missing"):
        check()
    Path("videos.csv").touch()
    subset = Path("configs/subsets/demo/scenes.yaml")
    subset.rename(subset.with_name("places.yaml"))
    with pytest.raises(UserError, match=r"whole-videos: configs/subsets/demo/scenes\.yaml is missing, .*places"):
        check()
    subset.with_name("places.yaml").rename(subset)
    check()
    assert "1 training," in capsys.readouterr().out


def test_a_typo_in_any_cluster_is_named(demo):
    path = Path("configs/clusters/slurm.yaml")
    path.write_text(path.read_text().replace("walltime:", "waltime:"))
    with pytest.raises(UserError, match=r"slurm\.yaml: unknown key 'waltime', did you mean 'walltime'"):
        check()
    path.write_text("kind: slrm\n")
    with pytest.raises(UserError, match=r"no kind of cluster 'slrm', did you mean 'slurm'"):
        check()


def test_weights_of_an_epoch_are_made_by_its_training(demo):
    features = {"sound": "avlnet-spectrogram", "flat": "resnet152", "moving": "resnext101-3d"}
    folder = Path("configs/trainings/demo")
    folder.mkdir()
    (folder / "first.yaml").write_text("corpus: demo\nkeep: all\n")
    params = yaml.safe_load(demo.read_text())
    params["embeddings"] |= {encoder: {"corpus": "demo", "encoder": encoder} for encoder in features.values()}
    params["trainings"] = {name: {"corpus": "demo", **features} for name in ("first", "second")}
    demo.write_text(yaml.safe_dump(params))
    for made in ("data/trainings/first/epochs/e2.pth", "data/trainings/first/model.pth"):
        (folder / "second.yaml").write_text(f"corpus: demo\nstart: {made}\n")
        check()
    (folder / "second.yaml").write_text("corpus: demo\nstart: data/trainings/third/epochs/e2.pth\n")
    with pytest.raises(UserError, match=r"data/trainings/third/epochs/e2\.pth is missing, and no training makes it"):
        check()
