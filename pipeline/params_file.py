"""Adding to `params.yaml`: comments and order of what stands there are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from cache.durable import new_file
from cache.errors import UserError
from pipeline.config.experiment import ExperimentConfig
from pipeline.config.params import PARAMS, Embedding, Params, ScoredSubset
from pipeline.config.records import validate
from pipeline.config.yaml_text import read_yaml_text

Additions = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Section -> name -> entry."""


PLACES = ("corpora", "imports", "file_trainings")
"""Sections whose entries say where files lie."""


ONCE = ("embeddings", "imports", "avlnets", "text_avlnets", "levels", "subsets")
"""Sections in which what an entry makes must be made once, under whatever name it stands there."""


def embedding_entries(corpus: str, encoders: list[str]) -> dict[str, dict[str, str]]:
    """Entries of `embeddings`: a corpus by each of some encoders."""
    return {f"{corpus}-{one}": Embedding(corpus=corpus, encoder=one).model_dump() for one in dict.fromkeys(encoders)}


def experiment_entries(experiments: Mapping[str, ExperimentConfig]) -> dict[str, dict[str, dict[str, str]]]:
    """Entries of `experiments` (one encoder), `fusions` (two) and `avlnet_experiments`."""
    sections: dict[str, dict[str, dict[str, str]]] = {"experiments": {}, "fusions": {}, "avlnet_experiments": {}}
    for name, config in experiments.items():
        section = "fusions" if len(config.encoders) == 2 else "experiments"
        section = "avlnet_experiments" if config.protocol == "avlnet" else section
        encoders = dict(zip(("encoder", "second"), config.encoders, strict=False))
        sections[section][name] = {"corpus": config.corpus, **encoders}
    return sections


def subset_entries(corpus: str, subsets: list[str]) -> dict[str, dict[str, str]]:
    """Entries of `subsets`."""
    return {f"{corpus}-{one}": ScoredSubset(corpus=corpus, subset=one).model_dump() for one in subsets}


def extend_params(additions: Additions) -> int:
    """Adds entries to `params.yaml`, whole or not at all; those that stand there already are left as they are.

    A corpus that stands there gets the places that are given for it, its imports and trainings on files likewise.
    Sections that the file lacks, because it is older than they are, are added empty, and an embedding by AVLnet without
    `config` gets it: dvc.yaml goes through all of them.

    Returns:
        How many entries were added or changed.

    Raises:
        UserError: a name stands there for something else.
    """
    yaml = YAML()
    yaml.width = 1000  # an entry stays on its line
    try:
        data = yaml.load(read_yaml_text(PARAMS))
    except YAMLError as error:  # a key that stands there twice, say
        raise UserError(f"{PARAMS} is no valid YAML: {' '.join(str(error).split())[:500]}") from None
    changed = 0
    lacking = [section for section in Params.model_fields if section not in data]
    data.update({section: CommentedMap() for section in lacking})
    lacking += _named_configs(data)
    for section, entries in additions.items():
        if entries and not data[section]:
            data[section] = CommentedMap()
        for name, entry in entries.items():
            there = data[section].get(name)
            if there == entry or (section in ONCE and entry in data[section].values()):
                continue
            if there is not None and section not in PLACES:
                raise UserError(f"{PARAMS}: {section}.{name} is {dict(there)}, not {dict(entry)}: rename or remove it.")
            data[section][name] = _on_one_line(entry)
            changed += 1
    validate(data, Params, PARAMS)
    if changed or lacking:
        with new_file(PARAMS) as temporary, temporary.open("w", encoding="utf-8") as file:
            yaml.dump(data, file)
    return changed


def _named_configs(data: CommentedMap) -> list[str]:
    """Names the YAML of AVLnets that were listed before several could share one."""
    lacking = []
    for section in ("avlnets", "text_avlnets"):
        for name, entry in (data[section] or {}).items():
            if isinstance(entry, dict) and "encoder" in entry and "config" not in entry:
                entry["config"] = entry["encoder"]
                lacking.append(name)
    return lacking


def _on_one_line(entry: Mapping[str, Any]) -> CommentedMap:
    line = CommentedMap(entry)
    line.fa.set_flow_style()
    return line
