"""Media lists, and the names and addresses of what is in them."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.params import load_params
from pipeline.media.containers import MediaError
from pipeline.media.location import MediaFolder, MediaList, open_place
from pipeline.media.media_list import names_of, read_media_list, write_media_list
from pipeline.monitor.events import without_secrets
from pipeline.remote.address import RemoteFile, path_of, shown, url_of
from stages.ingest.media_files import MediaLayout

URLS = ["s3://bucket/2024/a/x.mp4", "s3://bucket/2024/a/y z.mp4", "s3://bucket/2024/b/x.mp4"]


def written(path, text):
    path.write_text(text)
    return read_media_list(path)["path"].to_list()


def test_media_are_called_by_what_their_urls_do_not_have_in_common(tmp_path):
    assert names_of(URLS) == ["a/x.mp4", "a/y z.mp4", "b/x.mp4"]
    assert names_of(["https://host/one.mp4?sig=5ecre7"]) == ["one.mp4"]
    assert names_of(["https://a.org/1%20x.mp4", "https://b.org/2.mp4"]) == ["a.org/1 x.mp4", "b.org/2.mp4"]
    assert written(tmp_path / "list.txt", "# mine\n\n" + "\n".join(URLS) + "\n") == names_of(URLS)
    assert written(tmp_path / "list.csv", f"url,path\n{URLS[0]},\n{URLS[1]},own.mp4\n") == ["x.mp4", "own.mp4"]


def test_lists_of_spreadsheets_are_read(tmp_path):
    text = f"path;url;size\r\n./a//ü.mp4;{URLS[0]};5\r\n;{URLS[1]};\r\n"
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    place = open_place(tmp_path / "list.csv")
    assert place.files() == [Path("a/ü.mp4"), Path("y z.mp4")]
    assert place.source("a/ü.mp4") == RemoteFile(URLS[0], "a/ü.mp4", 5)
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"list\.csv is no UTF-8"):
        read_media_list(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nurl;path\nURL;one, two.mp4\n",
        "# ours\nurl|path\n\nURL|one, two.mp4\n",
        'path, url\n"one, two.mp4", "URL"\n',
        "url\tpath\tsize\r\rURL\tone, two.mp4\t\r",
    ],
)
def test_lists_of_other_programs_are_read(tmp_path, text):
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        (tmp_path / "list.csv").write_bytes(text.replace("URL", URLS[0]).encode(encoding))
        assert read_media_list(tmp_path / "list.csv").row(0) == ("one, two.mp4", URLS[0], None, None)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_list_is_read_as_it_was_written(tmp_path, ending):
    files = [RemoteFile(url, name, 5, "1f") for url, name in zip(URLS, names_of(URLS), strict=True)]
    files.append(RemoteFile("https://host/ü,1.mp4", 'ü,"1".mp4'))
    assert write_media_list(tmp_path / f"list.{ending}", reversed(files)) == 4
    place = open_place(tmp_path / f"list.{ending}")
    assert isinstance(place, MediaList)
    assert [place.source(path.as_posix()) for path in place.files()] == sorted(files, key=lambda one: one.name)
    assert place.path_of(URLS[2]) == Path("b/x.mp4") and place.path_of("s3://bucket/none") is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "url,path\ns3://b/k,x\nvideos/k,y\n", r"a\.csv row 3 names 'videos/k', which is no URL"),
        ("a.csv", "url,path\ns3://b/k,x\n,y\n", r"a\.csv row 3 names nothing,"),
        ("a.csv", "url,path\ns3://b/k,x\ns3://b/l,x\n", r"a\.csv row 3 has the path 'x' like .*a\.csv row 2"),
        ("a.csv", "url,path\ns3://b/k,../x\n", r"a\.csv row 2: the path '\.\./x' must be relative"),
        ("a.csv", "urls\ns3://b/k\n", r"has no column `url`.*'urls': did you mean 'url'"),
        ("a.csv", "url,size\ns3://b/k,big\n", r"a\.csv row 2: the size 'big' is no whole number"),
        ("a.csv", "url\n", "lists no media"),
        ("a.csv", "url,path\n\n# x\ns3://b/k,x,y\n", r"a\.csv row 4: it has 3 fields, the header 2"),
        ("a.csv", "sep=,\nurl,path\ns3://b/k,x\n\nk,y\n", r"a\.csv row 5 names 'k', which is no URL"),
        ("a.csv", 'url,path\ns3://b/k,"x\ns3://b/l,y\n', r"a\.csv row 2: a quotation mark is not closed"),
        ("a.csv", "url,path,path\ns3://b/k,x,y\n", r"a\.csv has 2 columns 'path'"),
        ("a.csv", "url,path\ns3://b/k,x\0\n", r"a\.csv row 2: .*zero byte"),
        ("a.txt", "https://h/get?id=5\nhttps://h/get?id=6\n", r"a\.txt URL 2 has the path 'get' like"),
        ("a.parquet", "PAR1", r"a\.parquet cannot be read"),
        ("a.mp4", "", r"a\.mp4 is no media list \(\.csv"),
        ("none.csv", None, r"none\.csv cannot be read"),
    ],
)
def test_mistakes_in_a_list_are_said(tmp_path, name, text, reason):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=reason):
        read_media_list(tmp_path / name)


def test_files_of_this_machine_may_be_in_a_list(tmp_path):
    (tmp_path / "list.csv").write_text(f"url\nfile://{tmp_path}/a b.mp4\n")
    place = open_place(tmp_path / "list.csv")
    assert place.source("a b.mp4") == tmp_path / "a b.mp4"
    with pytest.raises(MediaError, match=r"not in the media list .*list\.csv"):
        place.source("c.mp4")
    assert isinstance(open_place(tmp_path), MediaFolder)


def test_published_corpora_look_their_files_up_in_the_list(tmp_path):
    (tmp_path / "list.csv").write_text("url\ns3://b/epic/P01/P01_01.MP4\ns3://b/epic/P02/P02_02.wav\n")
    layout = MediaLayout(
        open_place(tmp_path / "list.csv"), "audio", ["{participant}/{video}.MP4", "{participant}/{video}.wav"]
    )
    assert layout.whole("P01_01", "P01") == Path("P01/P01_01.MP4")
    assert layout.whole("P02_02", "P02") == Path("P02/P02_02.wav")
    assert layout.whole("P03_01", "P03") is None
    faults, _ = layout.report(["P03_01"], 3)
    assert faults[0][2].startswith(f"no audio: {tmp_path / 'list.csv'} has no ")


def test_secrets_are_not_shown():
    url = "https://me:5ecre7@host:8443/a/b.mp4?X-Amz-Signature=5ecre7#5ecre7"
    assert shown(url) == "https://host:8443/a/b.mp4"
    assert (
        without_secrets(f"Cannot connect to '{url}', sorry") == "Cannot connect to 'https://host:8443/a/b.mp4', sorry"
    )
    assert without_secrets("s3://me:5ecre7@bucket/what?.mp4") == "s3://bucket/what?.mp4"
    assert shown("s3://bucket/what?#.mp4") == "s3://bucket/what?#.mp4"
    identities = {
        RemoteFile(f"https://me:{word}@host/a.mp4?id=7&X-Amz-Signature={word}&Expires={word}", "a").identity
        for word in ("one", "two")
    }
    assert len(identities) == 1
    assert RemoteFile("https://host/a.mp4?id=8", "a").identity not in identities


def test_a_path_stands_for_a_url_if_it_can():
    for url in ("s3://bucket/a b.mp4", "https://host/x/y.mp4", "gs://b/k"):
        assert url_of(path_of(url)) == url
    assert url_of(Path("a/b.mp4")) is None and url_of("c:/b.mp4") is None
    for url in ("https://host/a.mp4?sig=1", "https://me:word@host/a.mp4", "s3://bucket//a.mp4", "s3://bucket/a/"):
        with pytest.raises(ValueError, match="needs a media list"):
            path_of(url)


def test_a_url_as_media_says_what_to_do(project, hearonce):
    Path("params.yaml").write_text(
        "corpora: {mine: {media: 's3://bucket/mine', annotations: a.csv}}\nembeddings: {}\nsubsets: {}\n"
    )
    with pytest.raises(
        UserError, match=r"corpora\.mine\.media: .*`hearonce list-media s3://bucket/mine -o media\.csv`"
    ):
        load_params()
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")
    code, _, said = hearonce("add", "epic-mir", "--media", "s3://bucket/epic", "--annotations", ".")
    assert code == 2 and "`hearonce list-media s3://bucket/epic -o epic-mir.csv`" in said
    code, _, said = hearonce("list-media", "https://host/videos/?sig=5ecre7", "-o", "media.csv")
    assert code == 2 and "https://host/videos/: a web server does not say what it has" in said
    for source, reason in (("none.txt", "none.txt does not exist"), (".", "is a folder of this machine")):
        code, _, said = hearonce("list-media", source, "-o", "media.csv")
        assert code == 2 and reason in said
