"""`configs/trainings/CORPUS/NAME.yaml`: how an AVLnet is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cache.errors import UserError
from pipeline.config.params import FEATURES, PARAMS, load_params
from pipeline.config.records import Settings, load, named, refuse_renamed
from pipeline.networks.avlnet_shape import AUDIO_WIDTHS, MARGIN, Mode, Objective, Variant

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Keep = Literal["all", "last", "best"]


def published_mode(given: dict[str, Any]) -> Mode:
    """The mode that AVLnet was published with: `train` on windows of HowTo100M, `eval` on the clips of a corpus."""
    return "eval" if given.get("windows") is None else "train"


class Windows(Settings):
    """Random segments of long videos instead of whole clips, as AVLnet is trained on HowTo100M.

    Attributes:
        frames: of a segment of the spectrogram; 1,000 are 10 seconds.
        per_clip: segments drawn from each clip of a batch.
        least_s: for segments around captions of `files`, each joined to its neighbours until it lasts so many seconds;
            null for segments that begin at random seconds.
    """

    frames: Count
    per_clip: Count = 1
    least_s: Annotated[float | None, Field(ge=0)] = None


CAPTION_FORMS = (".pickle", ".json")


STORED_NAMES = {
    "audio": "sound",
    "features_2d": "flat",
    "features_3d": "moving",
    "text": "words",
    "audio_widths": "sound_widths",
}
"""Keys of trainings by the names that they have in saved states, and had in YAML files of older versions."""


class VideoFiles(Settings):
    """Feature files of whole videos as AVLnet's authors lay them out, in place of cached features.

    Attributes:
        paths: list of the videos, `HowTo100M_1166_videopaths.txt`.
        features: folder of `ID_2d.npz` and `ID_3d.npz`.
        audio: folder of `ID_spec.npz`; that of the video features if null.
        captions: `caption.pickle` or `caption.json`, whichever is there, for the variants with text; imported into the
            store at its first use.
        vectors: of words, in word2vec's binary format, likewise.
    """

    paths: Path
    features: Path
    audio: Path | None = None
    captions: Path | None = None
    vectors: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, given: Any) -> Any:
        return refuse_renamed(given, {"sounds": "audio"})


class TrainingConfig(Settings):
    """How a network is trained, on which clips of which corpus. All but `keep` can change the weights.

    Attributes:
        corpus: whose clips are trained and evaluated on; with `files`, it is evaluated on alone.
        audio: encoder whose rows are log-mel spectrograms.
        features_2d: encoder of 2D video features.
        features_3d: encoder of 3D video features.
        text: encoder of word vectors; null for the variant without text, and with `files` that nothing is evaluated
            beside.
        embed_captions: caption sources whose texts the trained network embeds as an encoder; null for all.
        captions: caption source; a clip with several captions is trained on one drawn at random.
        train_on: subset (`configs/subsets/CORPUS/`) of the clips to train on; null for all.
        evaluate_on: subset whose retrieval is measured before each epoch and after the last; null for none.
        evaluation_count: number of queries that recall is a fraction of, where more than have come through count as
            mistakes (MSR-VTT: 1000, of which 968 have audio); null for those that have come through.
        variant: which AVLnet.
        objective: which embeddings of a batch are compared, see `stages.train.step`.
        start: weights to start from, as the authors publish them or as `model.pth` of another training; null to
            start from scratch.
        dim: of the space.
        audio_widths: channels of the audio trunk: the published ones, or fewer for a small corpus or machine.
        max_frames: spectrograms are padded or cut to so many frames.
        max_words: texts are padded or cut to so many words.
        windows: random segments of each clip instead of the whole.
        files: feature files of whole videos to train on, HowTo100M, instead of the caches of the corpus.
        mode: of the network while it learns. In `eval`, batch normalisation applies the running statistics of `start`
            (from scratch: mean 0, variance 1), which stay as they are, and the embedding of audio is the mean over its
            real frames. In `train`, batch normalisation applies the statistics of the batch, and the mean is over
            padding too. If not given: as published, `train` with `windows`, else `eval`; see docs/reproduce.md.
        keep: which epochs' weights stay in the folder `epochs` beside `model.pth`, which has those of the last:
            `all` (`e1.pth`, `e2.pth`, ...), `last` (none beside `model.pth`), or `best` (`best.pth`, of the highest
            sum of R@1, R@5 and R@10 in both directions; the earlier among equals).
        batch_size: clips of a batch, over all processes.
        accumulate: micro-batches in which a batch is worked through. Loss and gradient are those of the whole batch,
            negatives of other micro-batches included; only batch normalisation, in mode `train`, sees one micro-batch
            at a time (over all processes), as it sees the share of one GPU under DataParallel.
        epochs: over all clips; a last batch that is not full is left out.
        lr: learning rate of Adam.
        lr_decay: factor on the learning rate after each epoch.
        margin: of the loss.
        precision: `float32`, or `bf16` or `fp16` for mixed precision.
        seed: of the initial weights and all random draws.
    """

    corpus: str
    audio: str = "features/avlnet-spectrogram"
    features_2d: str = "features/resnet152"
    features_3d: str = "features/resnext101-3d"
    text: str | None = None
    captions: str = "given"
    embed_captions: list[str] | None = None
    train_on: str | None = None
    evaluate_on: str | None = None
    evaluation_count: Count | None = None
    variant: Variant = "bi"
    objective: Objective = "pairs"
    start: Path | None = None
    dim: Count = 4096
    audio_widths: Annotated[tuple[Count, ...], Field(min_length=5, max_length=5)] = AUDIO_WIDTHS
    max_frames: Count = 5120
    max_words: Count = 20
    windows: Windows | None = None
    files: VideoFiles | None = None
    mode: Annotated[Mode, Field(default_factory=published_mode)]
    keep: Keep = "last"
    batch_size: Count = 256
    accumulate: Count = 1
    epochs: Count = 5
    lr: Positive = 1e-4
    lr_decay: Positive = 1.0
    margin: Annotated[float, Field(ge=0)] = MARGIN
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    seed: int = 1

    def settings(self) -> dict[str, Any]:
        """All that can change the weights but the mode, by the names that saved states know."""
        values = self.model_dump(mode="json", exclude={"mode", "keep", "embed_captions"})
        for name in ("audio", "features_2d", "features_3d", "text"):
            values[name] = values[name] and values[name].removeprefix(FEATURES)
        if values["files"] is not None:
            values["files"]["sounds"] = values["files"].pop("audio")
        return {STORED_NAMES.get(name, name): value for name, value in values.items()} | {"start": self.start}

    def reads(self) -> list[Path]:
        """Files and folders that must be there beside cached features."""
        files = {} if self.files is None else dict(self.files)
        return [path for path in (self.start, *files.values()) if path is not None]

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, given: Any) -> Any:
        return refuse_renamed(given, {old: new for new, old in STORED_NAMES.items()})

    @model_validator(mode="after")
    def _fits(self) -> TrainingConfig:
        self._fits_files()
        if self.files is None and (self.text is None) != (self.variant == "bi"):
            raise ValueError(f"variant {self.variant} " + ("takes no text" if self.text else "needs text"))
        if self.objective == "text-to-sum" and self.variant != "tri":
            raise ValueError("objective text-to-sum is of variant tri")
        if self.variant == "fused" and self.dim % 2:
            raise ValueError("dim of variant fused must be even")
        if self.files is None and self.windows is not None and self.text is not None:
            raise ValueError("random windows have no captions: leave out windows or text")
        if self.keep == "best" and self.evaluate_on is None:
            raise ValueError("keep: best needs evaluate_on, which says what is best")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} does not divide into {self.accumulate} parts")
        return self

    def _fits_files(self) -> None:
        windows, files = self.windows, self.files
        if files is None:
            if windows is not None and windows.least_s is not None:
                raise ValueError("windows with least_s are of the captions of files: leave out least_s")
            return
        if windows is None or self.train_on:
            raise ValueError("with files of whole videos, windows must be given and train_on left out")
        if (self.text is not None) != (self.evaluate_on is not None and self.variant != "bi"):
            raise ValueError(
                "with files of whole videos, files.vectors has the word vectors to train on, and text names those of "
                f"evaluate_on: {'leave out' if self.text else 'give'} text"
            )
        for name, given in (
            ("files.captions", files.captions),
            ("files.vectors", files.vectors),
            ("windows.least_s", windows.least_s),
        ):
            if (given is None) != (self.variant == "bi"):
                raise ValueError(f"variant {self.variant} {'needs' if given is None else 'takes no'} {name}")


def load_training(name: str) -> TrainingConfig:
    """Reads `configs/trainings/<corpus>/<name>.yaml` and checks that `params.yaml` feeds it the same features.

    Raises:
        UserError: there is none, a key is wrong, or the two disagree, so that DVC would watch other files.
    """
    path = named("trainings", name)
    config = _with_captions_there(load(path, TrainingConfig))
    if config.corpus != path.parent.name:
        raise UserError(f"{path} is of corpus {config.corpus!r}: move it into {path.parent.parent / config.corpus}/.")
    entry = load_params().trainings.get(name)
    if entry is None:
        return config
    if entry.corpus != config.corpus:
        raise UserError(f"{PARAMS}: trainings.{name} is of corpus {entry.corpus!r}, but {path} of {config.corpus!r}.")
    if config.files is None or entry.features is None:
        return config
    return config.model_copy(update={"files": config.files.model_copy(update={"features": entry.features})})


def _with_captions_there(config: TrainingConfig) -> TrainingConfig:
    """Takes the captions in their other published form, where that alone is there."""
    named = None if config.files is None else config.files.captions
    if config.files is None or named is None or named.exists():
        return config
    there = [one for one in map(named.with_suffix, CAPTION_FORMS) if one.is_file()]
    captions = there[0] if there else named
    return config.model_copy(update={"files": config.files.model_copy(update={"captions": captions})})
