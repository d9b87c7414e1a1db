"""docs/add-an-encoder.md, followed to the letter in a fresh working tree on the demo's media."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from clone import REPOSITORY, working_tree

from cache.artifact import open_artifact

PAGE = (REPOSITORY / "docs/add-an-encoder.md").read_text()
FILE = re.compile(r"`((?:stages|configs)/[\w/.-]+)`[^`]*?:?[^`\n]*\n\n```(?:python|yaml)\n(.*?)```", re.S)
COMMANDS = [
    line.removeprefix("uv run ") for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]
RUN = """
import shlex, sys
from stages.command_line import main
for command in sys.argv[1:]:
    sys.argv = shlex.split(command)
    try:
        main()
    except SystemExit as left:
        assert not left.code, (command, left.code)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    clone = working_tree(tmp_path_factory.mktemp("stranger"))
    shutil.copytree(REPOSITORY / "configs/corpora/demo", clone.root / "configs/corpora/demo", dirs_exist_ok=True)
    return clone


def test_the_page_gives_rows_and_scores(tree):
    files = dict(FILE.findall(PAGE))
    assert [path.split("/")[0] for path in files] == ["stages", "configs", "configs"]
    for path, text in files.items():
        assert not (tree.root / path).exists()
        tree.write(path, text)
    (module,) = (path for path in files if path.endswith(".py"))
    for checked in (["check"], ["format", "--diff"]):
        tree.run("ruff", *checked, module)
    (weights,) = set(re.findall(r"```python\n(.*?)```", PAGE, re.S)) - set(files.values())
    tree.run("python", "-c", weights)
    assert [shlex.split(command)[0] for command in COMMANDS] == ["hearonce"] * len(COMMANDS)
    output = tree.run("python", "-c", RUN, *COMMANDS).stdout
    for items in ("clips", "captions"):
        rows = open_artifact(tree.root / f"data/embeddings/demo/my-model/{items}.zarr").numpy()
        assert len(rows) > 10 and rows.shape[1] == 32 and rows.dtype == np.float32, output
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert len(np.unique(rows, axis=0)) > 1, output
    metrics = json.loads((tree.root / "data/results/demo/all/metrics.json").read_text())
    assert list(metrics) == ["my-model"] and "R@1" in json.dumps(metrics)


def test_the_entry_of_params_is_one(tree):
    """The line for `embeddings`: `hearonce check` finds nothing wrong with it."""
    entry = re.search(r"```yaml\n# params.yaml\nembeddings:\n(.*?)```", PAGE, re.S)[1]
    params = tree.root / "params.yaml"
    params.write_text(params.read_text().replace("\nembeddings:\n", f"\nembeddings:\n{entry}"))
    assert "demo-my-model" in params.read_text()
    tree.run("hearonce", "check")
