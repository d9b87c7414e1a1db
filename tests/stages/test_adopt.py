from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.named import CONFIGS
from pipeline.config.params import Params, load_params
from stages.adopt import adopt
from stages.check import check

PARAMS = """# a remark that stays
corpora: {}

# Embeddings of all kinds.
embeddings: {}
experiments: {}
fusions: {}
"""
CORPORA = ("epic-mir", "epic-sounds", "ego-mcq")


@pytest.fixture
def folders(project):
    Path("params.yaml").write_text(PARAMS)
    for name in ("media", "annotations"):
        Path(name).mkdir()
    return {"media": Path("media"), "annotations": Path("annotations")}


def test_shipped_corpora_are_adopted_with_all_that_belongs_to_them(folders, capsys):
    for corpus in CORPORA:
        adopt(corpus, **folders)
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
        shipped = {path.stem for path in (CONFIGS / "experiments" / corpus).glob("*.yaml")}
        assert set(params.experiments_of(corpus)) == shipped
    assert {name for name in params.subsets if name.startswith("ego")} == {
        f"ego-mcq-{one}" for one in ("low", "moderate", "high")
    }
    assert params.model_fields_set == set(Params.model_fields)  # dvc.yaml cannot do without any
    text = Path("params.yaml").read_text()
    assert text.startswith("# a remark that stays\n") and "# Embeddings of all kinds." in text
    assert "  epic-mir-wavcaps: {corpus: epic-mir, encoder: wavcaps}\n" in text


def test_a_second_time_changes_nothing_and_more_experiments_are_added(folders, capsys):
    adopt("ego-mcq", **folders, experiments=["*clotho-gpt", "ego-mcq-egovlp"])
    text = Path("params.yaml").read_text()
    assert load_params().experiments_of("ego-mcq") == [
        "ego-mcq-egovlp",
        "ego-mcq-wavcaps-clotho-gpt",
        "ego-mcq-egovlp-wavcaps-clotho-gpt",
    ]
    adopt("ego-mcq", experiments=["ego-mcq-egovlp"])
    assert Path("params.yaml").read_text() == text
    adopt("ego-mcq", experiments=["ego-mcq-wavcaps-clotho-visual"])
    assert len(load_params().experiments_of("ego-mcq")) == 4
    assert "1 experiment, 3 subsets in params.yaml (1 new entry)" in capsys.readouterr().out


def test_a_corpus_that_has_moved_keeps_its_experiments(folders):
    adopt("ego-mcq", **folders, experiments=["ego-mcq-egovlp"])
    Path("elsewhere").mkdir()
    adopt("ego-mcq", media=Path("elsewhere"), experiments=["ego-mcq-egovlp"])
    place = load_params().corpora["ego-mcq"]
    assert (place.media, place.annotations) == (Path("elsewhere"), Path("annotations"))


def test_what_is_there_is_not_asked_for(folders, capsys):
    Path("checkpoints/distilbert-base-uncased").mkdir(parents=True)
    Path("checkpoints/egovlp.pth").touch()
    adopt("epic-mir", **folders, experiments=["epic-mir-egovlp"])
    assert "fetch" not in capsys.readouterr().out
    Path("checkpoints/egovlp.pth").unlink()
    adopt("epic-mir", experiments=["epic-mir-egovlp"])
    assert "hearonce checkpoints fetch egovlp\n" in capsys.readouterr().out


def test_what_needs_a_file_that_no_command_fetches_is_left_out(folders, capsys):
    encoder = Path("configs/encoders/egovlp-mir.yaml")
    encoder.write_text(encoder.read_text().replace("checkpoints/egovlp_mir.pth", "checkpoints/mine.pth"))
    adopt("epic-mir", **folders)
    assert "epic-mir-egovlp-finetuned is left out: checkpoints/mine.pth is missing" in capsys.readouterr().out
    assert "epic-mir-egovlp-finetuned" not in load_params().experiments
    adopt("epic-mir", experiments=["epic-mir-egovlp-finetuned"])
    assert "epic-mir-egovlp-finetuned" in load_params().experiments
    Path("checkpoints").mkdir()
    Path("checkpoints/mine.pth").touch()
    adopt("epic-mir")
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
        adopt(corpus, **{**folders, **more})
    assert Path("params.yaml").read_text() == PARAMS


def test_a_name_taken_by_something_else_is_not_overwritten(folders):
    taken = PARAMS.replace("embeddings: {}", "embeddings: {epic-mir-egovlp-16f: {corpus: epic-mir, encoder: wavcaps}}")
    Path("params.yaml").write_text(taken)
    with pytest.raises(UserError, match=r"embeddings\.epic-mir-egovlp-16f is .*rename or remove it"):
        adopt("epic-mir", **folders, experiments=["epic-mir-egovlp"])
    assert Path("params.yaml").read_text() == taken
