"""What an engine must do, whatever answers behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cache.errors import UserError
from pipeline.cluster.running import Cluster
from stages.describe.budget import Budget
from stages.describe.config import DescriptionConfig
from stages.describe.tasks import Task


@dataclass(frozen=True)
class Reply:
    """What came back for one caption; see `cache.answers.Answer`."""

    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Listener:
    """Who is told what becomes of each caption, as it happens.

    Attributes:
        answered: keeps an answer; the engine asks no further until this returns.
        failed: learns why there is none.
    """

    answered: Callable[[str, Reply], None]
    failed: Callable[[str, str], None]


class EndpointLost(UserError):
    """The endpoint does not answer any more; what was received is kept."""


class Engine(Protocol):
    """A model that answers tasks."""

    def identity(self) -> Mapping[str, Any]:
        """What distinguishes this model from others, of whatever engine; paths stand for the bytes of files."""

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        """Asks about each caption and tells the listener.

        Raises:
            BudgetSpent: nothing more may be asked; what is under way has been answered.
            UserError: the model cannot be used at all.
        """


def open_engine(config: DescriptionConfig, cluster: Cluster | None = None) -> Engine:
    """The engine that a description names; loads no model and opens no connection.

    Args:
        config: of the description.
        cluster: whose workers run a model that is no endpoint's. An endpoint is asked by this process, which has the
            key and keeps to the endpoint's pace: more processes would not be answered sooner.
    """
    if config.engine == "openai":
        from stages.describe.engines.endpoint import EndpointEngine

        return EndpointEngine(config)
    from stages.describe.engines.local_model import LocalModel

    return LocalModel(config, cluster)
