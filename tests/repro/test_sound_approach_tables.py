import pytest
from miniature import chain


@pytest.mark.slow
def test_the_five_tables_come_from_one_embedding_pass(tmp_path):
    chain.run_chain(tmp_path, frames=2)
