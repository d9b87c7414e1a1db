"""The picture of a similarity matrix."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from stages.report import charts as heatmap


def pixels(picture):
    head, data = picture.data_uri.split(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.mode == "P"
    return np.array(image)


def test_a_small_matrix_has_one_pixel_a_cell():
    picture = heatmap.draw(np.eye(5, 7, dtype=np.float32))
    drawn = pixels(picture)
    assert drawn.shape == picture.shape == picture.of_shape == (5, 7)
    assert drawn[0, 0] == 255 and drawn[0, 1] == 0
    assert (picture.low, picture.high) == (0, 1)


def test_a_large_square_matrix_keeps_its_diagonal():
    picture = heatmap.draw(np.eye(1001, dtype=np.float32) + np.float32(0.1), max_side=100)
    drawn = pixels(picture)
    assert drawn.shape == (100, 100) and picture.of_shape == (1001, 1001)
    assert (np.diag(drawn) == 255).all() and (drawn == 255).sum() == 100
    np.testing.assert_array_equal(picture.picks[0], picture.picks[1])
    assert picture.picks[0][0] == 0 and picture.picks[0][-1] == 990


def test_another_large_matrix_is_averaged():
    sims = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], np.float32), 6, 0), 10, 1)
    picture = heatmap.draw(sims, max_side=2)
    assert picture.shape == (2, 2) and picture.picks is None
    drawn = pixels(picture).ravel().tolist()
    assert drawn == sorted(drawn) and len(set(drawn)) == 4


def test_a_long_matrix_is_thinned_on_its_long_side_alone():
    assert heatmap.draw(np.zeros((900, 3), np.float32), max_side=100).shape == (100, 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.3, np.nan])
def test_a_flat_matrix_is_drawn(value):
    assert len(np.unique(pixels(heatmap.draw(np.full((3, 3), value, np.float32))))) == 1


def test_nan_is_drawn_as_the_lowest():
    sims = np.eye(4, dtype=np.float32)
    sims[1, 1] = np.nan
    assert pixels(heatmap.draw(sims))[1, 1] == 0


def test_an_empty_matrix_is_refused():
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        heatmap.draw(np.zeros((0, 3), np.float32))


def test_the_legend_has_the_colours_of_the_picture():
    css = heatmap.scale_css()
    assert css.startswith("linear-gradient(") and all(colour in css for colour in heatmap.COLOURS)
