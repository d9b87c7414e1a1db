"""Clips with captions as published corpora list them: joined, checked and counted, and their media found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.console.text import counted
from pipeline.formats.text import escaped, fault_of_caption
from pipeline.media.location import open_place
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Span
from stages.ingest.clip_media import ClipMedia, cut_names

GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a row of an annotation file says of a clip; several rows may say something of one clip.

    Attributes:
        clip: id of the clip.
        names: values of the placeholders of `files.media`.
        captions: (source, text).
        subsets: that the clip belongs to.
        where: file and row, for messages.
        cut: start and end in seconds of a clip that is a part of a video, and has been cut out of it or not.
        segment: start and end of a clip that is read out of a whole video.
    """

    clip: str
    names: Mapping[str, str]
    captions: Sequence[tuple[str, str]]
    subsets: Sequence[str]
    where: str
    cut: tuple[float, float] | None = None
    segment: tuple[float, float] | None = None


@dataclass
class CaptionedClips:
    """The clips of a corpus, in the order of its files.

    Attributes:
        entries: the first entry of each clip.
        captions: (source, text) of each clip.
        subsets: of each clip.
        faults: (id, path, reason) of rows that cannot be used.
        notes: messages for the summary line.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    captions: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    subsets: dict[str, list[str]] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, entry: Entry, path: Path) -> None:
        """Adds what a row says. A caption that cannot be used is a fault, and the clip keeps its others.

        Args:
            entry: of the row.
            path: of its file.
        """
        known = self.entries.setdefault(entry.clip, entry)
        if (known.cut, known.segment) != (entry.cut, entry.segment):
            self.fault(entry, path, f"{known.where} gives the clip other times")
            return
        texts = self.captions.setdefault(entry.clip, [])
        for source, text in entry.captions:
            text = text.strip()
            if reason := "a caption is empty" if not text else fault_of_caption(text):
                self.fault(entry, path, reason)
            else:
                texts.append((source, text))
        subsets = self.subsets.setdefault(entry.clip, [])
        subsets += [subset for subset in entry.subsets if subset not in subsets]

    def fault(self, entry: Entry, path: Path, reason: str) -> None:
        """A row that cannot be used."""
        self.faults.append((escaped(entry.clip), str(path), f"{entry.where}: {reason}"))

    def add_listed(self, subset: str, clips: Iterable[str], path: Path) -> None:
        """Adds a subset that is published as a list of clips.

        Raises:
            UserError: no clip of the list is in the corpus.
        """
        unknown = []
        n_known = 0
        for clip in dict.fromkeys(clips):
            if clip in self.subsets:
                self.subsets[clip].append(subset)
                n_known += 1
            else:
                unknown.append(clip)
        if not n_known:
            raise UserError(f"{path} names no clip of the corpus: take it from the same release as the captions.")
        if unknown:
            names = counted(len(unknown), "clip")
            self.notes.append(f"{path} names {names} that the caption files lack, such as {escaped(unknown[0])}")

    def annotations(self, place: CorpusPlace, config: CorpusConfig, fields: Sequence[str], where: Path) -> Annotations:
        """All of it, with the media of each clip.

        A clip without media is left out with its captions, and counted by subset: videos vanish from where they were
        published.

        Args:
            place: where the media lie.
            config: what they are called, and the published counts.
            fields: placeholders that `files.media` may have.
            where: the annotation file or folder, for messages.
        """
        whole = config.files.media_are == "videos"
        media = ClipMedia(open_place(place.media), config.files.media, fields, whole)
        annotations = Annotations(faults=self.faults, notes=self.notes)
        lacking: list[str] = []
        clip_of: dict[Path, str] = {}  # files that are clips cut out of videos
        for id, entry in self.entries.items():
            annotations.subsets += [(subset, "clip", id) for subset in self.subsets[id]]
            if not self.captions[id]:
                continue
            names = dict(entry.names) | (cut_names(*entry.cut) if entry.cut else {})
            try:
                found = media.find(names)
            except ValueError as error:
                self.fault(entry, where, str(error))
                continue
            if found is None:
                lacking.append(id)
                continue
            if entry.cut and not whole and (first := clip_of.setdefault(found.audio, id)) != id:
                self.fault(entry, where, f"{found.audio} is the file of {first} already: name both by their times")
                continue
            audio = (_span(found.audio, entry, whole),)
            frames = audio if found.frames == found.audio else (_span(found.frames, entry, whole),)
            annotations.clips.append(AnnotatedClip(id, audio, frames))
            _add_captions(annotations, id, self.captions[id])
        annotations.notes += self._lacking_notes(lacking, media)
        annotations.notes += self._count_notes(config, where)
        return annotations

    def _lacking_notes(self, lacking: Sequence[str], media: ClipMedia) -> list[str]:
        """How many clips of each subset have no media."""
        if not lacking:
            return []
        of = Counter(subset for id in lacking for subset in self.subsets[id] or [""])
        sizes = Counter(subset for subsets in self.subsets.values() for subset in subsets or [""])
        parts = [f"{n:,} of {sizes[subset]:,}" + (f" ({subset})" if subset else "") for subset, n in of.items()]
        return [
            f"no media of {', '.join(parts)} clips, which are left out: {media.searched()}, such as "
            f"{escaped(lacking[0])}"
        ]

    def _count_notes(self, config: CorpusConfig, where: Path) -> list[str]:
        """Notes on numbers of clips and captions that are not those that the authors published."""
        notes = []
        counts = {"": config.files.published, **config.files.published_subsets}
        for subset, published in counts.items():
            ids = [id for id, subsets in self.subsets.items() if not subset or subset in subsets]
            given = sum(source == GIVEN for id in ids for source, _ in self.captions[id])
            found = {"clips": len(ids), "captions": given}
            if not ids:  # its file is missing, of which a note says so
                continue
            for kind, wanted in published.items():
                if found.get(kind, wanted) != wanted:
                    of = f" of subset {subset}" if subset else ""
                    notes.append(
                        f"{where} gives {found[kind]:,} {kind}{of}, published are {wanted:,}: is this the official "
                        "file?"
                    )
        return notes


def _span(media: Path, entry: Entry, whole_video: bool) -> Span:
    if entry.segment is not None:
        return Span(media, *entry.segment)
    if entry.cut is None:
        return Span(media)
    length = entry.cut[1] - entry.cut[0]
    return Span(media, *entry.cut, cut_s=length) if whole_video else Span(media, cut_s=length)


def _add_captions(annotations: Annotations, clip: str, captions: Iterable[tuple[str, str]]) -> None:
    """Each caption is one of its own, as often as it stands there: it is a query, whose answer is its clip."""
    numbers: Counter[str] = Counter()
    for source, text in captions:
        number = numbers[source]
        numbers[source] += 1
        id = f"{source}:{clip}" + (f":{number}" if number else "")
        annotations.captions.append(Caption(id, text, source))
        annotations.pairs.append((clip, id))
