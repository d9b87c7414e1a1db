import shutil
from pathlib import Path

import pytest
import yaml

from cache.errors import UserError
from pipeline.config.params import load_params
from stages.add.command import add
from stages.check import WITH_DEFAULT, check

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
        ("imports: {}\n", "", "lacks what dvc.yaml reads: add `imports: {}`"),
        (
            "  demo-scenes:",
            "  scenes-too: {corpus: demo, subset: scenes}\n  demo-scenes:",
            r"subsets\.scenes-too and subsets\.demo-scenes both score subset 'scenes' of demo: remove one",
        ),
        (
            "imports: {}",
            "imports: {demo: {corpus: demo, annotations: a}, again: {corpus: demo, annotations: a}}",
            "embed",
        ),
        (
            "fusions:",
            "fusions:\n  demo-audio: {corpus: demo, encoder: a, second: b}",
            "both make experiment 'demo-audio'",
        ),
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
    (folder / "second.yaml").write_text("corpus: demo\nstart: data/trainings/howto100m-avlnet/model.pth\n")
    with pytest.raises(UserError, match="list 'howto100m-avlnet' there, as `hearonce add howto100m` does"):
        check()
    (folder / "second.yaml").write_text("corpus: demo\nstart: data/trainings/third/epochs/e2.pth\n")
    with pytest.raises(UserError, match=r"third/epochs/e2\.pth is made by no training of params.yaml: known: first"):
        check()


def test_params_of_an_older_version_are_completed_by_one_message(project):
    """As commit 4d1951d wrote them: dvc.yaml has empty sections for those that came later."""
    text = """corpora:
  crosstask: {media: configs/corpora/crosstask.yaml, annotations: annotations/avlnet/AVLnet_release_data}
embeddings: {}
experiments: {}
fusions: {}
subsets: {crosstask-validation: {corpus: crosstask, subset: val}}
descriptions: {}
imports: {crosstask: {corpus: crosstask, annotations: annotations/avlnet/AVLnet_release_data}}
speech: {}
trainings: {}
text_trainings: {}
avlnets:
  old: {corpus: crosstask, encoder: avlnet, sound: avlnet-spectrogram, flat: resnet152, moving: resnext101-3d,
        checkpoint: checkpoints/AVLnet_release_models/AVLnet_release.pth}
text_avlnets: {}
avlnet_experiments: {}
"""
    params = Path("params.yaml")
    params.write_text(text)
    with pytest.raises(UserError, match=r"lacks what dvc.yaml reads: add `config: avlnet` to avlnets.old\."):
        check()
    params.write_text(text.replace("  old: {", "  old: {config: avlnet, "))
    check()
    defaults = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["vars"]
    assert defaults == [{section: {} for section in WITH_DEFAULT}]
    params.write_text(text)
    add("crosstask")  # does the same, and what stands there under another name is not made a second time
    check()
    params = load_params()
    assert list(params.subsets) == ["crosstask-validation", "crosstask-train"]
    assert [name for name, one in params.avlnets.items() if one.encoder == "avlnet"] == ["old"]


def test_a_subset_by_level_needs_the_levels(demo):
    Path("configs/subsets/demo/audible.yaml").write_text("annotated: audible\n")
    demo.write_text(demo.read_text().replace("subsets:\n", "subsets:\n  loud: {corpus: demo, subset: audible}\n"))
    with pytest.raises(UserError, match=r"subsets\.loud needs the levels .*add `demo: {corpus: demo}` to `levels`"):
        check()
    demo.write_text(demo.read_text().replace("levels: {}", "levels: {demo: {corpus: demo}}"))
    check()
