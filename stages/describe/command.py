"""`hearonce describe CORPUS`: captions -> audio descriptions and relevancy levels, each answer asked for once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import corpus_place, load_params
from pipeline.config.records import CONFIGS
from pipeline.console.app import Cluster, KeepGoing, Strict, finish
from pipeline.console.text import counted
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.dask.cluster import Cluster as Workers
from pipeline.runner.dask.cluster import open_cluster
from stages.describe.config import DescriptionConfig, load_description
from stages.describe.engine import Budget
from stages.describe.questions import (
    DESCRIPTION,
    RELEVANCY,
    Question,
    ask_missing,
    described_captions,
    estimated_cost,
    look_up,
    open_engine,
    open_questions,
)
from stages.describe.tables import Described, PreviousAnswers, added_rows, described

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
    with open_cluster(cluster) as workers:
        _describe(
            corpus, Problems(STAGE, strict), keep_going, Budget(max_requests, max_tokens), dry_run, again, workers
        )


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
    previous = PreviousAnswers(corpus, summary)
    all_described: list[Described] = []
    all_questions: list[Question] = []
    for name, config in configs.items():
        captions = described_captions(tables["captions"], config, corpus)
        texts = [text for text in dict.fromkeys(text for _, text in captions) if text.strip()]
        engine = open_engine(config, cluster)
        questions = open_questions(config, engine)
        for question in questions:
            for note in look_up(question, texts, previous.answers):
                summary.add_note(note)
            if dry_run:
                _print_missing(name, question, texts, config)
                continue
            summary.wanted += len(texts)
            summary.count_found(question.known.n_found)
            label = f"{STAGE} {corpus} {name} {question.task.name}"
            start = budget.input_tokens, budget.output_tokens
            try:
                with summary.timed("ask"):
                    ask_missing(question, texts, engine, budget, label=label, tries=config.tries, again=again)
            finally:
                question.store.close()
            summary.computed += question.known.n_new
            tokens = budget.input_tokens - start[0], budget.output_tokens - start[1]
            _note_tokens(name, question, config, *tokens, summary)
        all_questions += questions
        all_described.append(_described(name, captions, questions, config, problems))
    if dry_run:
        return
    summary.failed = len(problems)
    with summary.timed("write"):
        written = added_rows(all_described, tables) | {"answers": _answers(all_questions)}
        for name, schema in TABLES.items():
            schemas.write_table(written[name], schema, layout.described(corpus, name))
        problems.write(layout.problems(corpus, STAGE))
    spent = any(question.known.spent for question in all_questions)  # DVC must not take a stage cut short for done
    finish(summary.line(), len(problems), keep_going and not spent)


def _described(
    name: str,
    captions: Sequence[tuple[str, str]],
    questions: Sequence[Question],
    config: DescriptionConfig,
    problems: Problems,
) -> Described:
    source = f"described-{name}"
    for question in questions:
        for caption_id, text in captions:
            if text not in question.known.values:
                reason = question.known.reasons.get(text, "the caption is empty")
                problems.add(caption_id, "", f"{source}, {question.task.name}: {reason}")
    values = {question.task.name: question.known.values for question in questions}
    return described(source, captions, values[DESCRIPTION], values.get(RELEVANCY, {}), config.model)


def _answers(questions: Sequence[Question]) -> pl.DataFrame:
    rows = {}
    for question in questions:
        for answer in question.known.answers.values():
            row = {name: getattr(answer, name) for name in schemas.ANSWERS if name != "fingerprint"}
            rows[question.store.fingerprint, answer.key] = {"fingerprint": question.store.fingerprint, **row}
    return schemas.table(sorted(rows.values(), key=lambda row: (row["fingerprint"], row["key"])), schemas.ANSWERS)


def _note_tokens(
    name: str, question: Question, config: DescriptionConfig, n_input: int, n_output: int, summary: Summary
) -> None:
    if n_input or n_output:
        cost = _cost(config, n_input, n_output)
        summary.add_note(f"{name} {question.task.name}: {n_input} + {n_output} tokens{cost}")
    if question.known.spent and question.known.spent not in summary.note:
        summary.add_note(question.known.spent)


def _print_missing(name: str, question: Question, texts: Sequence[str], config: DescriptionConfig) -> None:
    missing = [text for text in texts if text not in question.known.answers]
    requests = counted(len(missing), "request")
    n_input, n_output = estimated_cost(question, missing, config)
    print(
        f"{name} {question.task.name}: {counted(len(texts), 'caption')}, {question.known.n_found} answered, "
        f"{requests} to make, about {n_input} + {n_output} tokens{_cost(config, n_input, n_output)}",
        flush=True,
    )


def _cost(config: DescriptionConfig, n_input: int, n_output: int) -> str:
    prices = config.prices
    cost = (n_input * prices.input + n_output * prices.output) / 1e6
    return f", about {cost:.4f} {prices.currency}" if cost else ""
