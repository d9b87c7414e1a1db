from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.checkpoints.catalogue import load_catalogue
from pipeline.checkpoints.official import official_annotations
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import experiments_of, load_experiment
from pipeline.config.params import Params, config_of, load_params
from stages.add.command import add
from stages.check import check
from stages.train.config import load_training

PARAMS = """# a remark that stays
corpora: {}

# Embeddings of all kinds.
embeddings: {}
subsets: {}
"""
CORPORA = ("epic-mir", "epic-sounds", "ego-mcq")


def scored(corpus):
    """Experiments that a `dvc repro` scores."""
    params = load_params()
    embedded = params.encoders_of(corpus)
    if corpus in params.imports:
        embedded |= {"features/avlnet-spectrogram", "features/resnet152", "features/resnext101-3d"}
    return [one.name for one in experiments_of(corpus) if embedded.issuperset(one.encoders)]


@pytest.fixture
def folders(project):
    Path("params.yaml").write_text(PARAMS)
    for name in ("media", "annotations"):
        Path(name).mkdir()
    return {"media": Path("media"), "annotations": Path("annotations")}


def test_shipped_corpora_are_added_with_all_that_belongs_to_them(folders, capsys):
    for corpus in CORPORA:
        add(corpus, **folders)
    said = capsys.readouterr().out
    fetched = [
        line.split("checkpoints fetch ")[1].split() for line in said.splitlines() if "checkpoints fetch " in line
    ]
    assert len(fetched) == 3
    for names in fetched:
        assert {"630k-audioset-fusion-best", "egovlp", "HTSAT-BERT-FT-Clotho", "roberta-base"} <= set(names)
    assert "egovlp_mir" in fetched[0]
    check()
    params = load_params()
    for corpus in CORPORA:
        assert scored(corpus) == [experiment.name for experiment in experiments_of(corpus)]
    assert {name for name in params.subsets if name.startswith("ego")} == {
        f"ego-mcq-{one}" for one in ("all", "low", "moderate", "high")
    }
    assert params.model_fields_set == set(Params.model_fields)  # dvc.yaml cannot do without any
    text = Path("params.yaml").read_text()
    assert text.startswith("# a remark that stays\n") and "# Embeddings of all kinds." in text
    assert (
        "  epic-mir-wavcaps: {corpus: epic-mir, encoder: wavcaps, config: configs/encoders/wavcaps.yaml, "
        "reads: data/audio/epic-mir.parquet}\n"
    ) in text
    assert params.embeddings["epic-mir-laion-clap-seed1"].config == Path("configs/encoders/laion-clap.yaml")
    assert params.embeddings["epic-mir-egovlp-16f"].reads == Path("data/tables/epic-mir/media.parquet")


def test_a_second_time_changes_nothing_and_more_experiments_are_added(folders, capsys):
    add("ego-mcq", **folders, experiments=["*clotho-gpt", "ego-mcq-egovlp"])
    text = Path("params.yaml").read_text()
    assert scored("ego-mcq") == [
        "ego-mcq-wavcaps-clotho-visual",
        "ego-mcq-wavcaps-clotho-gpt",
        "ego-mcq-egovlp",
        "ego-mcq-egovlp-wavcaps-clotho-visual",
        "ego-mcq-egovlp-wavcaps-clotho-gpt",
    ]
    add("ego-mcq", experiments=["ego-mcq-egovlp"])
    assert Path("params.yaml").read_text() == text
    add("ego-mcq", experiments=["ego-mcq-wavcaps-visual"])
    assert len(scored("ego-mcq")) == 7
    assert "1 experiment, 4 subsets in params.yaml (1 new entry)" in capsys.readouterr().out


def test_a_corpus_that_has_moved_keeps_its_experiments(folders):
    add("ego-mcq", **folders, experiments=["ego-mcq-egovlp"])
    Path("elsewhere").mkdir()
    add("ego-mcq", media=Path("elsewhere"), experiments=["ego-mcq-egovlp"])
    place = load_params().corpora["ego-mcq"]
    assert (place.media, place.annotations) == (Path("elsewhere"), Path("annotations"))


def test_what_is_there_is_not_asked_for(folders, capsys):
    Path("checkpoints/distilbert-base-uncased").mkdir(parents=True)
    Path("checkpoints/egovlp.pth").touch()
    for _, files in official_annotations("epic-mir").values():
        for one in files:
            (folders["annotations"] / one).parent.mkdir(exist_ok=True)
            (folders["annotations"] / one).touch()
    add("epic-mir", **folders, experiments=["epic-mir-egovlp"])
    assert "fetch" not in capsys.readouterr().out
    Path("checkpoints/egovlp.pth").unlink()
    add("epic-mir", experiments=["epic-mir-egovlp"])
    assert "hearonce checkpoints fetch egovlp\n" in capsys.readouterr().out


def test_what_needs_a_file_that_no_command_fetches_is_left_out(folders, capsys):
    encoder = Path("configs/encoders/egovlp-mir.yaml")
    encoder.write_text(encoder.read_text().replace("checkpoints/egovlp_mir.pth", "checkpoints/mine.pth"))
    add("epic-mir", **folders)
    assert "epic-mir-egovlp-finetuned is left out: checkpoints/mine.pth is missing" in capsys.readouterr().out
    assert "epic-mir-egovlp-finetuned" not in scored("epic-mir")
    add("epic-mir", experiments=["epic-mir-egovlp-finetuned"])
    assert "epic-mir-egovlp-finetuned" in scored("epic-mir")
    Path("checkpoints").mkdir()
    Path("checkpoints/mine.pth").touch()
    add("epic-mir")
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("corpus", "more", "message"),
    [
        ("epic-mri", {}, "No corpus 'epic-mri' .*did you mean 'epic-mir'"),
        ("epic-mir", {"media": None}, "does not say yet where 'epic-mir' lies: add --media FOLDER"),
        ("epic-mir", {"annotations": Path("nowhere")}, "annotations folder nowhere does not exist"),
        ("epic-mir", {"experiments": ["epic-mir-wavcap-gpt"]}, "did you mean 'epic-mir-wavcaps-gpt'"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(folders, corpus, more, message):
    with pytest.raises(UserError, match=message):
        add(corpus, **{**folders, **more})
    assert Path("params.yaml").read_text() == PARAMS


def test_a_name_taken_by_something_else_is_not_overwritten(folders):
    taken = PARAMS.replace(
        "embeddings: {}",
        "embeddings: {epic-mir-egovlp-16f: {corpus: epic-mir, encoder: wavcaps, config: c.yaml, reads: r}}",
    )
    Path("params.yaml").write_text(taken)
    with pytest.raises(UserError, match=r"embeddings\.epic-mir-egovlp-16f is .*rename or remove it"):
        add("epic-mir", **folders, experiments=["epic-mir-egovlp"])
    assert Path("params.yaml").read_text() == taken


AVLNET = {"youcook2": (7, 4), "msrvtt": (7, 4), "crosstask": (3, 2), "youcook-japanese": (3, 2)}
"""Experiments and trainings of the corpora whose features are published."""


def test_a_corpus_of_avlnet_is_one_command_and_check_says_what_is_still_to_be_fetched(project, capsys):
    Path("params.yaml").write_text(PARAMS)
    for corpus in AVLNET:
        add(corpus)
    said = capsys.readouterr().out
    assert "fetch AVLnet_release_data AVLnet_release_models GoogleNews-vectors --unpack\n" in said
    assert "fetch YouCook_Japanese AVLnet_release_models --unpack\n" in said
    check()
    said = capsys.readouterr().out
    assert "4 corpora, 34 embeddings, 20 experiments, 12 trainings" in said and "all fits together" in said
    assert "youcook_train_audio.pkl" in said and said.count("checkpoints fetch") == 4
    params = load_params()
    for corpus, (experiments, trainings) in AVLNET.items():
        assert len(scored(corpus)) == experiments
        assert sum(one.startswith(f"{corpus}-") for one in params.trainings) == trainings
        assert params.imports[corpus].annotations == params.corpora[corpus].annotations
    tuned = params.embeddings["msrvtt-tri"]
    assert tuned.encoder == "avlnet-text-tri-msrvtt@msrvtt-tri"
    assert tuned.config == Path("data/trainings/msrvtt-tri/encoder.yaml")
    assert tuned.reads == Path("data/embeddings/msrvtt/features")
    assert params.trainings["msrvtt-tri"].reads == [Path("data/tables/msrvtt"), tuned.reads]
    assert Path("params.yaml").read_text().startswith("# a remark that stays\n")
    used = load_catalogue()["AVLnet_release_models"].used_by
    avlnets = {config_of(one.encoder) for one in params.embeddings.values() if one.encoder.startswith("avlnet")}
    assert len(avlnets) == 6 and avlnets <= set(used)
    text = Path("params.yaml").read_text()
    add("msrvtt")
    assert Path("params.yaml").read_text() == text


def test_nothing_lacks_when_the_archives_are_unpacked(project, capsys):
    Path("params.yaml").write_text(PARAMS)
    catalogue = load_catalogue()
    for name in ("AVLnet_release_models", "AVLnet_release_data"):
        folder = catalogue[name].path.with_name(name)
        folder.mkdir(parents=True)
        for one in catalogue[name].holds:
            (folder / one).touch()
    add("crosstask")
    assert "fetch" not in capsys.readouterr().out
    check()
    assert "lack" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("corpus", "fetched", "experiments"),
    [("egomcq", {"egomcq", "egovlp"}, 4), ("epic-sounds-val", {"epic-sounds-annotations", "HTSAT-BERT-PT"}, 8)],
)
def test_what_else_the_papers_evaluate_on(folders, corpus, fetched, experiments, capsys):
    add(corpus, media=folders["media"])  # annotations: where they are fetched to
    said = capsys.readouterr().out
    assert fetched <= set(said.split("checkpoints fetch ")[1].split())
    assert f"{experiments} experiments" in said
    check()
    params = load_params()
    assert set(params.labels) == ({"egomcq-levels"} if corpus == "egomcq" else set())
    assert "audible" in str(params.subsets) or corpus != "egomcq"


def test_egovlp_plus_is_an_experiment_with_its_published_values(folders, capsys):
    add("epic-mir", **folders, experiments=["epic-mir-egovlp-plus"])
    assert "egovlp_plus" in capsys.readouterr().out
    config = load_experiment("epic-mir-egovlp-plus")
    assert config.transform == "dual-softmax"
    assert config.paper["all"]["average"] == {"mAP": 0.474, "nDCG": 0.614}


def test_one_experiment_brings_its_training_alone(project, capsys):
    Path("params.yaml").write_text(PARAMS)
    add("youcook2", experiments=["youcook2-avlnet-scratch"])
    params = load_params()
    assert list(params.trainings) == list(params.embeddings) == ["youcook2-scratch"]
    assert "AVLnet_release_models" not in capsys.readouterr().out
    check()


def test_howto100m_is_trained_on_files_where_the_user_has_them(project, capsys):
    Path("params.yaml").write_text(PARAMS)
    with pytest.raises(UserError, match="where the features of 'howto100m' lie: add --media FOLDER"):
        add("howto100m")
    Path("features").mkdir()
    add("howto100m", media=Path("features"), experiments=["howto100m-avlnet"])
    assert load_params().trainings["howto100m-avlnet"].features == Path("features")
    assert load_training("howto100m-avlnet").files.features == Path("features")
    assert load_training("howto100m-tri").files.features == Path("howto100m")
    paths = load_training("howto100m-avlnet").files.paths
    paths.parent.mkdir(parents=True)
    paths.touch()
    check()
    assert "1 training" in capsys.readouterr().out


def test_the_former_name_answers_the_new_one(project, hearonce):
    Path("params.yaml").write_text(PARAMS)
    code, _, err = hearonce("adopt", "crosstask")
    assert code == 2 and err.strip() == "hearonce: `adopt` is renamed to `hearonce add`."
    assert Path("params.yaml").read_text() == PARAMS


def test_missing_folders_are_one_sentence(project):
    Path("params.yaml").write_text(PARAMS)
    with pytest.raises(UserError, match="The annotations folder nowhere does not exist"):
        add("youcook2", annotations=Path("nowhere"))


def test_the_folder_of_the_outputs_holds_no_inputs(project):
    """The authors' README unpacks into `data/`; DVC refuses an input in which outputs lie."""
    Path("params.yaml").write_text(PARAMS)
    Path("data").mkdir()
    Path("elsewhere").symlink_to(".")
    for folder in ("data", "elsewhere", Path.cwd() / "data"):
        with pytest.raises(UserError, match=r"is where this project puts what it makes \(data/\)"):
            add("crosstask", annotations=Path(folder))
    Path("data/crosstask").mkdir()
    add("crosstask", annotations=Path("data/crosstask"))
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("annotations: data/crosstask", "annotations: data"))
    with pytest.raises(UserError, match=r"corpus 'crosstask' names data, where this project puts what it makes"):
        check()


WITH_CAPTIONS = (
    "clotho",
    "clotho-v1",
    "audiocaps",
    "musiccaps",
    "msrvtt-videos",
    "youcook2-videos",
    "vatex",
    "activitynet-captions",
    "msvd",
)


def test_corpora_with_captions_are_added_with_licence_and_terms(folders, capsys):
    for corpus in WITH_CAPTIONS:
        add(corpus, **folders)
        shown = capsys.readouterr().out
        assert f"Licence of {corpus}: " in shown and f"Terms of {corpus}: " in shown
        assert scored(corpus) == [experiment.name for experiment in experiments_of(corpus)]
        assert (f"{corpus}-captions" in shown) == (corpus in WITH_CAPTIONS[:4])  # fetched by a command
        subsets = {entry.subset for entry in load_params().subsets.values() if entry.corpus == corpus}
        assert set(load_corpus(corpus).files.published_subsets) <= subsets
    check()
