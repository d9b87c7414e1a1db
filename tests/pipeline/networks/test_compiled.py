"""Functions that numba compiles."""

from pipeline.networks.avlnet_spectrogram import compiled


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same():
    names = {}
    exec(compile("def twice(x): return 2 * x", "<no file, so no folder to keep it in>", "exec"), names)
    assert compiled(names["twice"])(21) == 42
