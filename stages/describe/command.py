"""`hearonce describe CORPUS`: captions -> audio descriptions and relevancy levels, each answer asked for once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.errors import UserError
from pipeline import layout
from pipeline.config.named import CONFIGS
from pipeline.config.params import corpus_place, load_params
from pipeline.console.app import Cluster, KeepGoing, Strict, finish
from pipeline.console.text import counted
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.dask.cluster import Cluster as Workers
from pipeline.runner.dask.cluster import open_cluster
from stages.describe.ask import ask_missing
from stages.describe.config import DescriptionConfig, load_description
from stages.describe.description import DESCRIPTION, RELEVANCY, Part, captions_of, estimated, look_up, open_parts
from stages.describe.engine import Budget, open_engine
from stages.describe.tables import AnswersBefore, Described, added_rows, described

STAGE = "describe"
TABLES = {
    "captions": schemas.CAPTIONS,
    "pairs": schemas.PAIRS,
    "relevancy": schemas.RELEVANCY,
    "questions": schemas.QUESTIONS,
    "subsets": schemas.SUBSETS,
    "descriptions": schemas.DESCRIPTIONS,
    "answers": schemas.ANSWERS,
}

MaxRequests = Annotated[
    int | None,
    typer.Option(envvar="HEARONCE_MAX_REQUESTS", min=0, help="Stop before more requests, repeated ones included."),
]
MaxTokens = Annotated[
    int | None, typer.Option(envvar="HEARONCE_MAX_TOKENS", min=0, help="Stop before more tokens, in and out together.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count requests and tokens; ask and write nothing.")]
Again = Annotated[bool, typer.Option("--again", help="Ask again where the kept answer cannot be used.")]


@logged
def describe(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    strict: Strict = False,
    keep_going: KeepGoing = False,
    max_requests: MaxRequests = None,
    max_tokens: MaxTokens = None,
    dry_run: DryRun = False,
    again: Again = False,
    cluster: Cluster = None,
) -> None:
    """Describe the captions of a corpus as params.yaml says; only what has never been answered is asked.

    A budget that is used up ends the run with exit code 3, tables of what there is and a list of what is missing.
    Models that run here can run on a cluster; endpoints are asked by this process all the same.
    """
    with open_cluster(cluster) as others:
        _describe(corpus, Problems(STAGE, strict), keep_going, Budget(max_requests, max_tokens), dry_run, again, others)


def _describe(
    corpus: str,
    problems: Problems,
    keep_going: bool,
    budget: Budget,
    dry_run: bool,
    again: bool,
    cluster: Workers | None,
) -> None:
    corpus_place(corpus)
    names = load_params().descriptions.get(corpus, [])
    configs = {name: load_description(name) for name in names}
    if dry_run and not names:
        print(f"Nothing is to be described: params.yaml names nothing under `descriptions: {{{corpus}: [...]}}`.")
    for name, config in configs.items():
        if budget.max_tokens is not None and not dry_run and config.answer_limit is None:
            raise UserError(
                f"--max-tokens cannot hold for {name!r}, whose answers may be of any length: give it a limit in "
                f"{CONFIGS / 'descriptions' / name}.yaml, such as `decoding: {{max_tokens: 100}}`."
            )
    tables = {
        name: schemas.read_table(layout.table(corpus, name), TABLES[name])
        for name in (("captions", "pairs", "relevancy", "questions") if names else ())
    }
    summary = Summary(f"{STAGE} {corpus}", unit="answers")
    before = AnswersBefore(corpus, summary)
    finished: list[Described] = []
    used: list[Part] = []
    for name, config in configs.items():
        captions = captions_of(tables["captions"], config, corpus)
        texts = [text for text in dict.fromkeys(text for _, text in captions) if text.strip()]
        engine = open_engine(config, cluster)
        parts = open_parts(config, engine)
        for part in parts:
            for remark in look_up(part, texts, before.answers):
                summary.add_note(remark)
            if dry_run:
                _say_what_is_missing(name, part, texts, config)
                continue
            summary.wanted += len(texts)
            summary.count_found(part.asked.n_found)
            label = f"{STAGE} {corpus} {name} {part.task.name}"
            start = budget.input_tokens, budget.output_tokens
            try:
                with summary.timed("ask"):
                    ask_missing(
                        part.task,
                        texts,
                        part.asked,
                        part.store,
                        engine,
                        budget,
                        label=label,
                        tries=config.tries,
                        again=again,
                    )
            finally:
                part.store.close()
            summary.computed += part.asked.n_new
            _tell_tokens(name, part, config, budget.input_tokens - start[0], budget.output_tokens - start[1], summary)
        used += parts
        finished.append(_described(name, captions, parts, config, problems))
    if dry_run:
        return
    summary.failed = len(problems)
    with summary.timed("write"):
        found = added_rows(finished, tables) | {"answers": _answers(used)}
        for name, schema in TABLES.items():
            schemas.write_table(found[name], schema, layout.described(corpus, name))
        problems.write(layout.problems(corpus, STAGE))
    spent = any(part.asked.spent for part in used)  # for DVC a stage cut short must not pass for one that is done
    finish(summary.line(), len(problems), keep_going and not spent)


def _described(
    name: str,
    captions: Sequence[tuple[str, str]],
    parts: Sequence[Part],
    config: DescriptionConfig,
    problems: Problems,
) -> Described:
    source = f"described-{name}"
    for part in parts:
        for caption_id, text in captions:
            if text not in part.asked.values:
                reason = part.asked.reasons.get(text, "the caption is empty")
                problems.add(caption_id, "", f"{source}, {part.task.name}: {reason}")
    values = {part.task.name: part.asked.values for part in parts}
    return described(source, captions, values[DESCRIPTION], values.get(RELEVANCY, {}), config.model)


def _answers(parts: Sequence[Part]) -> pl.DataFrame:
    rows = {}
    for part in parts:
        for answer in part.asked.answers.values():
            row = {name: getattr(answer, name) for name in schemas.ANSWERS if name != "fingerprint"}
            rows[part.store.fingerprint, answer.key] = {"fingerprint": part.store.fingerprint, **row}
    return schemas.table(sorted(rows.values(), key=lambda row: (row["fingerprint"], row["key"])), schemas.ANSWERS)


def _tell_tokens(
    name: str, part: Part, config: DescriptionConfig, n_input: int, n_output: int, summary: Summary
) -> None:
    if n_input or n_output:
        summary.add_note(f"{name} {part.task.name}: {n_input} + {n_output} tokens{_cost(config, n_input, n_output)}")
    if part.asked.spent and part.asked.spent not in summary.note:
        summary.add_note(part.asked.spent)


def _say_what_is_missing(name: str, part: Part, texts: Sequence[str], config: DescriptionConfig) -> None:
    missing = [text for text in texts if text not in part.asked.answers]
    to_make = counted(len(missing), "request")
    n_input, n_output = estimated(part, missing, config)
    print(
        f"{name} {part.task.name}: {counted(len(texts), 'caption')}, {part.asked.n_found} answered, "
        f"{to_make} to make, about {n_input} + {n_output} tokens{_cost(config, n_input, n_output)}",
        flush=True,
    )


def _cost(config: DescriptionConfig, n_input: int, n_output: int) -> str:
    prices = config.prices
    cost = (n_input * prices.input + n_output * prices.output) / 1e6
    return f", about {cost:.4f} {prices.currency}" if cost else ""
