from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.formats.text import decode, escaped, fault_of_text

HERE = Path("a.txt")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=50))
def test_unicode_with_a_mark_is_read(text):
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        assert decode(text.encode(codec), HERE, "file").text == text
    assert decode(text.encode(), HERE, "file") == (text, None)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_by_its_zeros(codec):
    assert decode("file,caption\n".encode(codec), HERE, "file") == ("file,caption\n", "a.txt was read as UTF-16")


@pytest.mark.parametrize("codec", ["windows-1252", "windows-1250", "latin-1", "mac-roman"])
def test_other_encodings_are_refused_with_a_remedy(codec):
    with pytest.raises(UserError, match=r"a\.txt is no UTF-8 \(byte 0x.. in line 2\): save it in UTF-8"):
        decode("a\nein Hund bellt: é, ö\n".encode(codec), HERE, "file")


def test_what_no_caption_may_hold():
    assert fault_of_text("fine: é😀\u200b\n") is None
    assert "U+FFFD" in str(fault_of_text("caf\ufffd"))
    assert "U+D83C" in str(fault_of_text("a \ud83c"))
    assert "zero byte" in str(fault_of_text("a\0"))
    assert escaped("é \ud83c \0 \x1b[31m") == "é \\ud83c \\x00 \\x1b[31m"
