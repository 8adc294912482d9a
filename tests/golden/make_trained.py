#!/usr/bin/env python3
"""Write tests/data/{classifier,restorer}.json: what Hugging Face says the two models of these names answer.

Computed on the CPU in float32 with eager attention from the bfloat16 weights of configs/classifier and
configs/restorer, each held-out sentence alone.

classifier.json, 100 sentences
  labels                    the names of the two classes
  sentences[i].text, label  the sentence and the index of its true class
  sentences[i].ids          token ids, [CLS] and [SEP] with them
  sentences[i].logits       one for each class

restorer.json, 50 sentences whose answers end within 64 tokens
  max_new_tokens            64
  sentences[i].input        the sentence without vowels
  sentences[i].target       the sentence
  sentences[i].ids          token ids of the input, </s> with them
  sentences[i].greedy_ids   the answer's, without the start token <pad>; the last is </s>
  sentences[i].greedy_text  the answer
  sentences[i].min_margin   the least lead of a step's best logit over the second
  sentences[i].top5         the five best [token id, logit] of the first step, best first

Run: python3 tests/golden/make_trained.py [--configs configs] [--out tests/data]
"""

import argparse
import json
import pathlib

import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

NUM_CLASSIFIED, NUM_RESTORED = 100, 50
MAX_NEW_TOKENS = 64


def load(auto_class, folder):
    model = auto_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    entries = [json.loads(line) for line in (folder / "held-out.jsonl").read_text("utf-8").splitlines()]
    return model, AutoTokenizer.from_pretrained(folder), entries


def classify(folder):
    model, tokenizer, entries = load(AutoModelForSequenceClassification, folder)
    answers = []
    for entry in entries[:NUM_CLASSIFIED]:
        ids = tokenizer(entry["text"])["input_ids"]
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        answers.append(dict(entry, ids=ids, logits=[float(f"{x:.8g}") for x in logits.tolist()]))
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return dict(labels=labels, sentences=answers)


def restore(folder):
    model, tokenizer, entries = load(AutoModelForSeq2SeqLM, folder)
    answers = []
    for entry in entries:
        ids = tokenizer(entry["input"])["input_ids"]
        out = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
            num_beams=1, max_new_tokens=MAX_NEW_TOKENS, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        greedy_ids = out.sequences[0, 1:].tolist()
        if greedy_ids[-1] != tokenizer.eos_token_id:
            continue
        steps = [torch.topk(logits[0], 5) for logits in out.logits]
        assert [int(step.indices[0]) for step in steps] == greedy_ids
        answers.append(
            dict(
                input=entry["input"],
                target=entry["target"],
                ids=ids,
                greedy_ids=greedy_ids,
                greedy_text=tokenizer.decode(greedy_ids, skip_special_tokens=True),
                min_margin=round(min(float(step.values[0] - step.values[1]) for step in steps), 5),
                top5=[[int(i), float(f"{x:.8g}")] for i, x in zip(steps[0].indices, steps[0].values)],
            )
        )
        if len(answers) == NUM_RESTORED:
            break
    return dict(max_new_tokens=MAX_NEW_TOKENS, sentences=answers)


def dump(expected):
    """JSON with one line per sentence."""
    versions = dict(transformers=transformers.__version__, torch=torch.__version__.split("+")[0])
    lines = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in (versions | expected).items() if k != "sentences"]
    sentences = ",\n".join("  " + json.dumps(entry) for entry in expected["sentences"])
    return "{\n" + ",\n".join([*lines, ' "sentences": [\n' + sentences + "\n ]"]) + "\n}\n"


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=pathlib.Path, default=pathlib.Path("configs"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/data"))
    args = parser.parse_args()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    classified, restored = classify(args.configs / "classifier"), restore(args.configs / "restorer")
    (args.out / "classifier.json").write_text(dump(classified))
    (args.out / "restorer.json").write_text(dump(restored))
    right = sum(e["logits"][e["label"]] == max(e["logits"]) for e in classified["sentences"])
    print(f"classifier: {right} of {len(classified['sentences'])} right")
    exact = sum(e["greedy_text"] == e["target"] for e in restored["sentences"])
    margin = min(e["min_margin"] for e in restored["sentences"])
    print(f"restorer: {exact} of {len(restored['sentences'])} exact, least margin {margin}")


if __name__ == "__main__":
    main()
