import pytest

from cache.errors import UserError
from pipeline.remote.braces import expanded, has_braces


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a-{00008..00011}.tar", ["a-00008.tar", "a-00009.tar", "a-00010.tar", "a-00011.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{0..2}", ["0", "1", "2"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
        ("plain{x}.tar", ["plain{x}.tar"]),
    ],
)
def test_braces_are_expanded_as_the_webdataset_library_does(text, wanted):
    from webdataset.shardlists import expand_urls

    assert expanded(text) == wanted == expand_urls(text)
    assert has_braces(text) == (len(wanted) > 1)


def test_ranges_that_cannot_be():
    with pytest.raises(UserError, match="ends before it begins"):
        expanded("{5..1}.tar")
    with pytest.raises(UserError, match="more than 1000000"):
        expanded("{0..9999999}.tar")
