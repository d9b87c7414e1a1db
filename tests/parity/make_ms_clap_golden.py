"""Writes golden/ms_clap_2023.npz, ms_clap_2022.npz and the keys of the checkpoints with msclap 1.3.4.

The package pins transformers < 5, so that it needs an environment of its own. From the project's folder:

    uv venv --python 3.11 ENV && uv pip install --python ENV/bin/python msclap==1.3.4 soundfile torchvision
    PYTHONPATH=tests ENV/bin/python tests/parity/make_ms_clap_golden.py

The networks are the real ones, filled by fill.py, and run by `CLAPWrapper` from files as its users call it. Only the
weights of GPT-2 and BERT, which the wrapper downloads and then overwrites, are replaced by their configurations.
"""

import json
import os
import random
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from filled import bert_words, gpt2_files
from msclap import CLAP
from msclap.models import clap as networks
from parity.fill import dump_keys, fill_state_dict, sine_mix
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

GOLDEN = Path(__file__).parent.resolve() / "golden"
RATE, CROP_START = 44_100, 77_777
CLIPS = {"3.3s": 145_530, "7s": 308_700, "12s": 529_200, "0.4s": 17_640}
CAPTIONS = ["a dog barks at the rain", "", "wait! what!! no !", "Ein Hund bellt – 犬が吠える", "the cat " * 4]
LONG = "the rain in the street " * 12
ARCHITECTURES = {
    "2023": ("HTSAT", 44100, 1024, 320, 64, 50, 8000, 527, 768, "gpt2", 768, 1024),
    "2022": ("Cnn14", 44100, 1024, 320, 64, 50, 14000, 527, 2048, "bert-base-uncased", 768, 1024),
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        gpt2_files.write(Path("gpt2"))
        bert_words.write_words(Path("bert-base-uncased/vocab.txt"))
        for model_type, name in (("gpt2", "gpt2"), ("bert", "bert-base-uncased")):
            Path(name, "config.json").write_text(json.dumps({"model_type": model_type}))
        empty = {"gpt2": lambda: GPT2Model(GPT2Config()), "bert-base-uncased": lambda: BertModel(BertConfig())}
        networks.AutoModel.from_pretrained = lambda name: empty[name]()
        random.randrange = lambda count: CROP_START
        for version, architecture in ARCHITECTURES.items():
            filled = networks.CLAP(*architecture)
            fill_state_dict(filled)
            dump_keys(filled.state_dict(), GOLDEN / f"keys_ms_clap_{version}.json")
            torch.save({"model": filled.state_dict()}, "filled.pth")
            rows = embed(CLAP("filled.pth", version=version, use_cuda=False))
            np.savez_compressed(GOLDEN / f"ms_clap_{version}.npz", **rows)


def embed(wrapper):
    kept = {}
    for name, samples in CLIPS.items():
        soundfile.write("clip.wav", sine_mix(samples, RATE), RATE, "FLOAT")
        kept[f"audio_{name}"] = wrapper.get_audio_embeddings(["clip.wav"])[0].numpy()
    soundfile.write("clip.wav", sine_mix(240_000, 48_000), 48_000, "FLOAT")
    kept["audio_5s_48kHz"] = wrapper.get_audio_embeddings(["clip.wav"])[0].numpy()
    tokens = wrapper.preprocess_text(CAPTIONS)
    kept["ids"], kept["mask"] = tokens["input_ids"].numpy(), tokens["attention_mask"].numpy()
    kept["text"] = wrapper.get_text_embeddings(CAPTIONS).numpy()
    kept["long_ids"] = wrapper.preprocess_text([LONG])["input_ids"][0].numpy()
    kept["text_long"] = wrapper.get_text_embeddings([LONG])[0].numpy()
    kept["captions"] = np.array([*CAPTIONS, LONG])
    return kept


main()
