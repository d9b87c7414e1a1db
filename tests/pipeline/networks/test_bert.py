"""BERT beside that of transformers."""

import pytest
import torch

from pipeline.networks.bert import Bert

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


@pytest.mark.parametrize("n_padded", [0, 4])
def test_the_values_of_transformers_bit_for_bit(n_padded):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    theirs, ours = BertModel(BertConfig(**CONFIG)).eval(), Bert(CONFIG).eval()
    ours.load_state_dict(theirs.state_dict())
    tokens, mask = torch.randint(0, 50, (3, 12)), torch.ones(3, 12, dtype=torch.int64)
    mask[1, 12 - n_padded :] = 0
    with torch.inference_mode():
        expected = theirs(input_ids=tokens, attention_mask=mask).last_hidden_state
        assert torch.equal(ours(tokens, mask), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"hidden_act": "relu"}, "hidden_act is 'relu'"), ({"vocab_size": None}, "it has no vocab_size")],
)
def test_a_config_of_another_network_is_refused(change, said):
    config = {name: value for name, value in {**CONFIG, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        Bert(config)
