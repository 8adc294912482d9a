#!/usr/bin/env python3
"""Trains the small tokenizers of tests/data/tokenizer and writes what Hugging Face makes of sample texts.

Needs the PyPI packages `tokenizers` and `sentencepiece`. Every tokenizer gets a folder with tokenizer.json (or
tokenizer.model), tokenizer_config.json and golden.json:
  texts  short texts: ids (with and without special tokens recognised) and the text decoded from them
  udhr   per language file: the number of ids, the first 32, and the FNV-1a 64 hash of all (4 bytes each, little endian)
  pairs  two texts together: ids and type ids
  errors byte strings that are not UTF-8, as hexadecimal, with the ids of their errors="replace" decoding
"""
import argparse
import collections
import io
import json
import pathlib

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from charsmap import small_charsmap, small_rules_file
from sample_texts import INVALID_UTF8, PAIRS, TEXTS, UDHR_DIR, fnv1a64, plain_spec, udhr_texts

DATA_DIR = pathlib.Path(__file__).resolve().parent.parent / "data" / "tokenizer"

# The patterns as published in the tokenizer.json of Llama-3 and of Qwen2; ByteLevel has GPT-2's built in.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

# Added to every tokenizer.json: what special and other added tokens can be told to do.
ADDED_TOKENS = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("<right>", special=True, normalized=False, rstrip=True),
    AddedToken("<tool>", special=False, normalized=False),
    AddedToken("<tool>s", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("cohort", special=False, normalized=True, single_word=True),
    AddedToken("Ünïcode", special=False, normalized=True),
]


def training_lines():
    for _, text in udhr_texts():
        yield from text.splitlines()


def train_bpe(tokenizer, vocab_size, **options):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **options)
    tokenizer.train_from_iterator(training_lines(), trainer)
    return tokenizer


def gpt2_style():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    train_bpe(tokenizer, 1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
              special_tokens=["<|endoftext|>"])
    return tokenizer, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])


def llama3_style():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split_then_bytes(LLAMA3_PATTERN)
    tokenizer.decoder = decoders.ByteLevel()
    train_bpe(tokenizer, 1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False)
                                  for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")])
    # A token that no merges lead to, so that ignore_merges shows.
    spec = json.loads(tokenizer.to_str())
    spec["model"]["vocab"]["\u0120xylophonist"] = max(spec["model"]["vocab"].values()) + 1
    for token in spec["added_tokens"]:
        token["id"] += 1
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)]),
    ])
    return tokenizer, {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>", "special": True}}


def qwen2_style():
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_then_bytes(QWEN2_PATTERN)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    train_bpe(tokenizer, 1300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return tokenizer, {"bos_token": None, "eos_token": "<|endoftext|>"}


LLAMA2_SPECIALS = ["<unk>", "<s>", "</s>"]


def with_bytes_and_specials(tokenizer, vocab_size):
    """Trains and puts <unk> <s> </s> and the 256 byte tokens in front, as a converted Llama-2 vocabulary has them."""
    train_bpe(tokenizer, vocab_size, special_tokens=LLAMA2_SPECIALS, limit_alphabet=220)
    spec = json.loads(tokenizer.to_str())
    vocab = spec["model"]["vocab"]
    by_id = [t for t, _ in sorted(vocab.items(), key=lambda item: item[1])]
    ordered = by_id[:3] + [f"<0x{b:02X}>" for b in range(256)] + by_id[3:]
    spec["model"]["vocab"] = {token: i for i, token in enumerate(ordered)}
    spec["model"].update(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    spec["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]]
    return spec


def bos_template(bos):
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", bos)])


def llama2_style():
    tokenizer = Tokenizer(models.BPE())
    # Trained by words, then used without a pre-tokenizer, as SentencePiece's conversion.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    spec = with_bytes_and_specials(tokenizer, 1200)
    spec["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = bos_template(1)
    # Merges written as "a b", as files before 2024 have them.
    return tokenizer, {"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}}, True


def mistral_style():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    spec = with_bytes_and_specials(tokenizer, 1000)
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = bos_template(1)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>"}


def unk_style():
    """No byte fallback and no byte level: unknown characters, many normalizers and pre-tokenizers."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
        normalizers.Replace(Regex(r"[\u2018\u2019]"), "'"),
    ])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)])
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    train_bpe(tokenizer, 900, special_tokens=["<unk>", "<cls>", "<sep>"], end_of_word_suffix="</w>", limit_alphabet=150)
    tokenizer.post_processor = processors.RobertaProcessing(("<sep>", 2), ("<cls>", 1))
    return tokenizer, {"bos_token": "<cls>", "eos_token": "<sep>"}


def metaspace_style():
    """Metaspace on both sides, a continuing prefix, and splits that merge with a neighbour."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(",", behavior="merged_with_previous", invert=False),
        pre_tokenizers.Split(Regex(r"[A-Z]+"), behavior="merged_with_next", invert=False),
        pre_tokenizers.Split(Regex(r"[0-9]"), behavior="contiguous", invert=True),
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
    ])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    train_bpe(tokenizer, 700, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=120)
    return tokenizer, {}


def train_word_piece(tokenizer, vocab_size):
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, show_progress=False, limit_alphabet=400,
                                        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.train_from_iterator(training_lines(), trainer)


def bert_uncased_style():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    train_word_piece(tokenizer, 1800)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    return tokenizer, {"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]", "do_lower_case": True}


def bert_cased_style():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=14))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    train_word_piece(tokenizer, 1800)
    spec = json.loads(tokenizer.to_str())  # the trainer forgets the limit
    spec["model"]["max_input_chars_per_word"] = 14
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", tokenizer.token_to_id("[SEP]")),
                                                         ("[CLS]", tokenizer.token_to_id("[CLS]")))
    return tokenizer, {"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]", "do_lower_case": False}


def roberta_style():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    train_bpe(tokenizer, 1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
              special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=True)
    return tokenizer, {"tokenizer_class": "RobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>",
                       "add_prefix_space": True}


def common_lines(num_chars):
    """The training lines without their rare characters, which the trainer of Unigram would have to keep."""
    lines = list(training_lines())
    common = {char for char, _ in collections.Counter("".join(lines)).most_common(num_chars)}
    return ["".join(char for char in line if char in common) for line in lines]


def t5_style():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=1500, show_progress=False, special_tokens=["<pad>", "</s>", "<unk>"],
                                      unk_token="<unk>", max_piece_length=12)
    tokenizer.train_from_iterator(common_lines(400), trainer)
    spec = json.loads(tokenizer.to_str())
    spec["model"]["vocab"] = [[token, round(score, 6)] for token, score in spec["model"]["vocab"]]
    spec["model"]["vocab"] += [[f"<extra_id_{i}>", 0.0] for i in reversed(range(4))]
    spec["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": small_charsmap([line[:2000] for line in training_lines()])},
        {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(f"<extra_id_{i}>", special=True, normalized=False) for i in range(4)])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return tokenizer, {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>"}


STYLES = {
    "gpt2": gpt2_style, "llama3": llama3_style, "qwen2": qwen2_style, "llama2": llama2_style,
    "mistral": mistral_style, "unk": unk_style, "metaspace": metaspace_style,
    "bert_uncased": bert_uncased_style, "bert_cased": bert_cased_style, "roberta": roberta_style, "t5": t5_style,
}


def encode_plain(tokenizer, text, add_special_tokens=True):
    """Special tokens in `text` stay text, as Cohort does unless told otherwise."""
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=add_special_tokens).ids


def encode_parsed(tokenizer, text, add_special_tokens=True):
    tokenizer.encode_special_tokens = False
    return tokenizer.encode(text, add_special_tokens=add_special_tokens).ids


def summary(ids):
    return {"count": len(ids), "first": ids[:32], "fnv1a64": f"{fnv1a64(ids):016x}"}


def golden_of_json(tokenizer):
    plain_tokenizer = Tokenizer.from_str(json.dumps(plain_spec(json.loads(tokenizer.to_str()))))
    texts = []
    for text in TEXTS:
        plain = encode_plain(plain_tokenizer, text)
        parsed = encode_parsed(tokenizer, text, add_special_tokens=False)
        texts.append({
            "text": text, "ids": plain, "parsed_ids": parsed,
            "decoded": tokenizer.decode(parsed, skip_special_tokens=False),
            "decoded_plain": tokenizer.decode(plain, skip_special_tokens=True),
        })
    pairs = []
    for first, second in PAIRS:
        pair = plain_tokenizer.encode(first, second)
        pairs.append({"first": first, "second": second, "ids": pair.ids, "type_ids": pair.type_ids})
    errors = [{"hex": data.hex(), "ids": encode_plain(plain_tokenizer, data.decode("utf-8", "replace"))} for data in INVALID_UTF8]
    udhr = {name: summary(encode_plain(plain_tokenizer, text)) for name, text in udhr_texts()}
    return {"texts": texts, "pairs": pairs, "errors": errors, "udhr": udhr, "vocab_size": max(tokenizer.get_vocab().values()) + 1}


ROW_KEYS = ("texts", "pairs", "errors")


def write(folder, config, golden):
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    lines = [f"{json.dumps(key)}: " + json.dumps(value, ensure_ascii=False) for key, value in golden.items()
             if key not in ROW_KEYS]
    for key in (key for key in ROW_KEYS if key in golden):
        rows = ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in golden[key])
        lines.append(f"{json.dumps(key)}: [\n{rows}]")
    (folder / "golden.json").write_text("{" + ",\n".join(lines) + "}\n")


def make_json_tokenizer(name, style):
    tokenizer, config, *old_merges = style()
    tokenizer.add_tokens([t for t in ADDED_TOKENS if not t.special])
    tokenizer.add_special_tokens([t for t in ADDED_TOKENS if t.special])
    folder = DATA_DIR / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = json.loads(tokenizer.to_str())
    if old_merges:
        spec["model"]["merges"] = [" ".join(m) for m in spec["model"]["merges"]]
    text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n")
    write(folder, config, golden_of_json(Tokenizer.from_file(str(folder / "tokenizer.json"))))


# The kind that Llama-2 and Mistral have, the kind that T5 has (with a small character map), and one that uses what else SentencePiece has to offer.
SENTENCEPIECE_STYLES = {
    "sentencepiece": (
        dict(model_type="bpe", vocab_size=1400, byte_fallback=True, normalization_rule_name="identity",
             remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True),
        {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_eos_token": False,
         "added_tokens_decoder": {"1400": {"content": "<|im_end|>", "special": True, "normalized": False}}}),
    "sentencepiece_t5": (
        dict(model_type="unigram", vocab_size=1700, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=0.98),
        {"eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}),
    "sentencepiece_unigram": (
        dict(model_type="unigram", vocab_size=1200, normalization_rule_name="nmt_nfkc", user_defined_symbols=["<tool>"]),
        {"eos_token": {"content": "</s>"}, "add_bos_token": False, "add_eos_token": True}),
}


def make_sentencepiece(name, options, config):
    folder = DATA_DIR / name
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    with small_rules_file() as rules:
        if "normalization_rule_name" not in options:
            options = dict(options, normalization_rule_tsv=rules)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(list(training_lines())), model_writer=model, max_sentence_length=100000, minloglevel=2,
            num_threads=1, **{"character_coverage": 0.99, **options})
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    prefix = [processor.bos_id()] * config["add_bos_token"]
    suffix = [processor.eos_id()] * config["add_eos_token"]

    def encode(text):
        return prefix + processor.encode(text) + suffix

    texts = [{"text": text, "ids": encode(text), "decoded_plain": processor.decode(encode(text))} for text in TEXTS]
    errors = [{"hex": data.hex(), "ids": encode(data.decode("utf-8", "replace"))} for data in INVALID_UTF8]
    udhr = {language: summary(encode(text)) for language, text in udhr_texts()}
    vocab_size = options["vocab_size"] + len(config.get("added_tokens_decoder", {}))
    write(folder, config, {"texts": texts, "errors": errors, "udhr": udhr, "vocab_size": vocab_size})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="tokenizers to make; all by default")
    names = parser.parse_args().names
    for name, style in STYLES.items():
        if not names or name in names:
            make_json_tokenizer(name, style)
            print("made", name)
    for name, style in SENTENCEPIECE_STYLES.items():
        if not names or name in names:
            make_sentencepiece(name, *style)
            print("made", name)
    print(f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}, texts of {UDHR_DIR}")


if __name__ == "__main__":
    main()
