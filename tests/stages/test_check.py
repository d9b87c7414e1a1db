import shutil
from pathlib import Path

import pytest

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
