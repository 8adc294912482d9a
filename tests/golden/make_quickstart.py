#!/usr/bin/env python3
"""Write tests/data/quickstart/{model,draft}.json: what Hugging Face says the quickstart models answer.

Computed on the CPU in float32 with eager attention from the bfloat16 weights of configs/quickstart. Each file holds

  prompts[i].text           the prompt
  prompts[i].ids            its token ids, with the <|begin_of_text|> that the tokenizer adds
  prompts[i].greedy_ids     32 greedy token ids (fewer if <|end_of_text|> comes, which is then the last)
  prompts[i].greedy_text    their text
  prompts[i].greedy_margin  best minus second-best logit at each step
  prompts[i].top5           for each step the five best [token id, natural log-probability], best first
  tokenizer[i]              text and ids (without special tokens) of strings that try the tokenizer

Run: python3 tests/golden/make_quickstart.py [--models configs/quickstart] [--out tests/data/quickstart]
"""

import argparse
import json
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "In the beginning God created",
    "And Jesus answered and said unto them,",
    "ROMEO:\nBut, soft! what light through yonder",
    "The LORD is my shepherd;",
]
STRINGS = [
    "",
    " ",
    "Hello, world!",
    "thou'lt  THOU'LT\n\n  shalt\r\n\tnot",
    "1 12 123 1234567890",
    "naïve café, 東京, Ελλάδα, עברית, 🙂👍🏽",
    "KING RICHARD III:\nA horse! a horse! my kingdom for a horse!\n\n",
    "<|end_of_text|>",
    "trailing spaces   ",
]
NUM_GREEDY = 32


@torch.no_grad()
def answer(model, tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    greedy_ids, margins, top5 = [], [], []
    out = model(input_ids=torch.tensor([ids]), use_cache=True)
    while True:
        logits = out.logits[0, -1]
        best = torch.topk(logits.log_softmax(-1), 5)
        greedy_ids.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 5))
        top5.append([[int(i), round(float(p), 5)] for i, p in zip(best.indices, best.values)])
        if len(greedy_ids) == NUM_GREEDY or greedy_ids[-1] == tokenizer.eos_token_id:
            break
        token = torch.tensor([[greedy_ids[-1]]])
        out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
    generated = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
        max_new_tokens=NUM_GREEDY, pad_token_id=0,
    )  # fmt: skip
    assert generated[0, len(ids) :].tolist() == greedy_ids, f"generate() disagrees on {text!r}"
    return dict(
        text=text,
        ids=ids,
        greedy_ids=greedy_ids,
        greedy_text=tokenizer.decode(greedy_ids, skip_special_tokens=True),
        greedy_margin=margins,
        top5=top5,
    )


def dump(expected):
    """JSON with one line per array, so that a difference reads well."""
    lines = [f" {json.dumps(key)}: {json.dumps(expected[key])}" for key in expected if key not in ("prompts", "tokenizer")]
    prompts = ",\n".join(
        "  {\n" + ",\n".join(f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in prompt.items()) + "\n  }"
        for prompt in expected["prompts"]
    )
    lines.append(' "prompts": [\n' + prompts + "\n ]")
    lines.append(' "tokenizer": [\n' + ",\n".join(f"  {json.dumps(t)}" for t in expected["tokenizer"]) + "\n ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path("configs/quickstart"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/data/quickstart"))
    args = parser.parse_args()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("model", "draft"):
        folder = args.models / name
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        expected = dict(
            transformers=transformers.__version__,
            torch=torch.__version__.split("+")[0],
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            prompts=[answer(model, tokenizer, text) for text in PROMPTS],
            tokenizer=[
                dict(text=text, ids=tokenizer(text, add_special_tokens=False)["input_ids"]) for text in STRINGS
            ],
        )
        (args.out / f"{name}.json").write_text(dump(expected))
        for prompt in expected["prompts"]:
            print(f"{name}: {prompt['text']!r} -> {prompt['greedy_text']!r}  min margin {min(prompt['greedy_margin'])}")


if __name__ == "__main__":
    main()
