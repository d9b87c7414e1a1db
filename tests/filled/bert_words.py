"""A vocabulary like that of bert-base-uncased, for tests that have no hub."""

from pathlib import Path


def words() -> list[str]:
    """As many words as bert-base-uncased knows: its marks at their places, single letters, a few words, and others."""
    unused = [f"[unused{i}]" for i in range(99)]
    letters = [chr(code) for code in (*range(33, 65), *range(91, 127))]
    pieces = [f"##{letter}" for letter in letters if letter.isalpha()]
    marks = ["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = [*marks, *letters, *pieces, "dog", "bark", "rain", "opens", "the", "fridge"]
    return known + [f"[word{i}]" for i in range(len(known), 30522)]


def write_words(path: Path) -> None:
    """Writes the vocabulary unless it is there."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{word}\n" for word in words()), encoding="utf-8")
