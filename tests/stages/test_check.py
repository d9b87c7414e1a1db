import shutil
from pathlib import Path

import pytest
import yaml

from cache.errors import UserError
from pipeline.config.params import embedding_entry
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
            "encoder: efficientnet-minilm, config",
            "encoder: efficientnet-minlm, config",
            "did you mean 'efficientnet-minilm'",
        ),
        (
            "reads: data/audio/demo.parquet",
            "reads: data/audio",
            r"does not name what .*audio/demo\.parquet",
        ),
        ("subset: effects", "subset: efects", r"subsets\.demo-effects: .* is missing, did you mean 'effects'"),
        ("labels: {}", "labels: {x: {corpus: demo, label: sound, encoder: e}}", r"labels\.x\.label: .*found 'sound'"),
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
            "labels: {}",
            "labels: {a: {corpus: demo, label: speech, encoder: e}, b: {corpus: demo, label: speech, encoder: e}}",
            r"labels\.a and labels\.b both label demo by speech",
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


def test_a_scored_corpus_needs_an_experiment_with_its_embeddings(demo):
    text = demo.read_text()
    params = yaml.safe_load(text)
    params["embeddings"] = {}
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"scores demo, but no experiment .*\('demo-audio' needs yamnet-minilm\)"):
        check()


def test_a_described_source_needs_its_description(demo):
    path = Path("configs/experiments/demo/described.yaml")
    path.write_text("encoders: [yamnet-minilm]\ncaptions: described-qwen-here\n")
    with pytest.raises(UserError, match="which `descriptions` of demo does not make, known: none"):
        check()
    demo.write_text(demo.read_text().replace("descriptions: {}", "descriptions: {demo: [qwen-here]}"))
    check()


FEATURES = ("avlnet-spectrogram", "resnet152", "resnext101-3d")


def feature_entries():
    """Embeddings of the demo by the encoders that AVLnet needs."""
    given = {"avlnet-spectrogram": "audio", "resnet152": "frames", "resnext101-3d": "frames"}
    return {one: embedding_entry("demo", f"features/{one}", given[one]) for one in FEATURES}


def test_a_training_needs_what_it_reads_and_is_evaluated_on(demo, capsys):
    config = Path("configs/trainings/demo/clips.yaml")
    config.parent.mkdir()
    config.write_text("corpus: demo\nevaluate_on: scenes\nstart: videos.pth\n")
    params = yaml.safe_load(demo.read_text())
    params["trainings"]["clips"] = {"corpus": "demo", "reads": ["data/tables/demo", "data/embeddings/demo"]}
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="clips reads demo embedded by features/avlnet-spectrogram, which `embeddings`"):
        check()
    params["embeddings"] |= feature_entries()
    demo.write_text(yaml.safe_dump(params))
    wanted = ["data/tables/demo", "data/embeddings/demo/features"]
    with pytest.raises(UserError, match=r"clips does not name what it reads: write `reads: \[data/tables/demo, "):
        check()
    params["trainings"]["clips"]["reads"] = wanted
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"trainings\.clips: videos\.pth is missing"):
        check()
    Path("videos.pth").touch()
    subset = Path("configs/subsets/demo/scenes.yaml")
    subset.rename(subset.with_name("places.yaml"))
    with pytest.raises(UserError, match=r"clips: configs/subsets/demo/scenes\.yaml is missing, .*places"):
        check()
    subset.with_name("places.yaml").rename(subset)
    check()
    assert "1 training," in capsys.readouterr().out


def test_a_training_on_files_names_their_folder(demo):
    config = Path("configs/trainings/demo/videos.yaml")
    config.parent.mkdir()
    config.write_text("corpus: demo\nfiles: {paths: videos.csv, features: .}\nwindows: {frames: 9}\n")
    Path("videos.csv").touch()
    params = yaml.safe_load(demo.read_text())
    entry = {"corpus": "demo", "reads": ["videos.csv", "videos.csv"], "features": "nowhere"}
    params["trainings"]["videos"] = entry
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"trainings\.videos names nowhere as `features`, which does not exist"):
        check()
    entry["features"] = "configs"
    demo.write_text(yaml.safe_dump(params))
    check()


def test_an_avlnet_needs_its_features_and_its_training(demo):
    params = yaml.safe_load(demo.read_text())
    params["embeddings"]["mine"] = embedding_entry("demo", "avlnet@youcook2-scratch", "features")
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match=r"youcook2-scratch is made by no training .*`hearonce add youcook2` does"):
        check()
    encoder = Path("configs/encoders/mine.yaml")
    encoder.write_text("family: avlnet\ncheckpoint: data/trainings/first/model.pth\n")
    params["embeddings"]["mine"] = embedding_entry("demo", "mine", "features")
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="mine reads demo embedded by features/avlnet-spectrogram, which"):
        check()
    params["embeddings"] |= feature_entries()
    demo.write_text(yaml.safe_dump(params))
    with pytest.raises(UserError, match="made by training 'first': name the encoder `mine@first`, so that DVC watches"):
        check()


def test_a_typo_in_any_cluster_is_named(demo):
    path = Path("configs/clusters/slurm.yaml")
    path.write_text(path.read_text().replace("walltime:", "waltime:"))
    with pytest.raises(UserError, match=r"slurm\.yaml: unknown key 'waltime', did you mean 'walltime'"):
        check()
    path.write_text("kind: slrm\n")
    with pytest.raises(UserError, match=r"no kind of cluster 'slrm', did you mean 'slurm'"):
        check()


def test_weights_of_an_epoch_are_made_by_its_training(demo):
    folder = Path("configs/trainings/demo")
    folder.mkdir()
    (folder / "first.yaml").write_text("corpus: demo\nkeep: all\n")
    params = yaml.safe_load(demo.read_text())
    params["embeddings"] |= feature_entries()
    reads = ["data/tables/demo", "data/embeddings/demo/features"]
    params["trainings"] = {name: {"corpus": "demo", "reads": reads} for name in ("first", "second")}
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


def test_params_of_the_last_version_are_sent_to_migrate(project):
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nexperiments: {}\nfusions: {}\n")
    with pytest.raises(UserError, match=r"params\.yaml is of an earlier version: run `hearonce migrate`"):
        check()


def test_a_subset_by_level_needs_the_levels(demo):
    Path("configs/subsets/demo/audible.yaml").write_text("annotated: audible\n")
    demo.write_text(demo.read_text().replace("subsets:\n", "subsets:\n  loud: {corpus: demo, subset: audible}\n"))
    entry = "demo-levels: {corpus: demo, label: levels, encoder: audio-level}"
    with pytest.raises(UserError, match=rf"subsets\.loud needs the levels .*add `{entry}` to `labels`"):
        check()
    demo.write_text(demo.read_text().replace("labels: {}", f"labels: {{{entry}}}"))
    check()
