"""Writes golden/ms_clap_2023.npz and the checkpoint's keys with msclap 1.3.4, in an environment of its own.

The package pins transformers < 5. From the project's folder:

    uv venv --python 3.11 ENV && uv pip install --python ENV/bin/python msclap==1.3.4 soundfile torchvision
    PYTHONPATH=tests ENV/bin/python tests/parity/make_ms_clap_golden.py

The networks are the real ones, filled by fill.py, and run by `CLAPWrapper` from files as its users call it. Only the
weights of gpt2, which the wrapper downloads and then overwrites, are replaced by its configuration.
"""

import json
import os
import random
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from filled import gpt2_files
from msclap import CLAP
from msclap.models import clap as networks
from parity.fill import dump_keys, fill_state_dict, sine_mix
from transformers import GPT2Config, GPT2Model

GOLDEN = Path(__file__).parent.resolve() / "golden"
RATE, CROP_START = 44_100, 77_777
CLIPS = {"3.3s": 145_530, "7s": 308_700, "12s": 529_200, "0.4s": 17_640}
CAPTIONS = ["a dog barks at the rain", "", "wait! what!! no !", "Ein Hund bellt – 犬が吠える", "the cat " * 4]
LONG = "the rain in the street " * 12


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        gpt2_files.write(Path("gpt2"))
        Path("gpt2/config.json").write_text(json.dumps({"model_type": "gpt2"}))
        networks.AutoModel.from_pretrained = lambda name: GPT2Model(GPT2Config())
        filled = networks.CLAP("HTSAT", 44100, 1024, 320, 64, 50, 8000, 527, 768, "gpt2", 768, 1024)
        fill_state_dict(filled)
        dump_keys(filled.state_dict(), GOLDEN / "keys_ms_clap_2023.json")
        torch.save({"model": filled.state_dict()}, "filled.pth")
        wrapper = CLAP("filled.pth", version="2023", use_cuda=False)
        random.randrange = lambda count: CROP_START
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
        np.savez_compressed(GOLDEN / "ms_clap_2023.npz", **kept)
        for name, value in kept.items():
            print(name, value.shape, value.reshape(-1)[:30] if "ids" in name else "")


main()
