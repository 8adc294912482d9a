#!/usr/bin/env python3
"""Compares Cohort's tokenizers with the installed `tokenizers` and `sentencepiece`, id for id.

usage: compare_hf.py DRIVER [--cases N] [--seed N] [MODEL_DIR...]

DRIVER is the built tokenizer_driver. Without directories: all of tests/data/tokenizer, and some tokenizers made here
on the fly that vary the components. Texts: the UDHR in 15 languages, the sample texts, long runs of one character,
and random mixtures of scripts, code, emoji, spaces, added tokens and bytes that are not UTF-8.
Exit code 0: all equal; 1: a difference, printed; 77: skipped, as a package is missing.
"""
import argparse
import io
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    import sentencepiece
    from tokenizers import Tokenizer
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

from charsmap import charsmap_of_model
from sample_texts import INVALID_UTF8, PAIRS, TEXTS, plain_spec, udhr_texts

DATA_DIR = pathlib.Path(__file__).resolve().parent.parent / "data" / "tokenizer"
RUN_CHARS = ["a", " ", "\n", "=", "é", "ก", "字", "🙂", "▁", "\u0301", "1"]
RUN_LENGTH = 100_000


class Driver:
    """Cohort's side, one process per tokenizer."""

    def __init__(self, binary, model_dir):
        self.process = subprocess.Popen([binary, str(model_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the driver ended with {self.process.wait()}")
        return answer.strip()

    def encode(self, data, add_special, parse_special):
        return [int(i) for i in self.ask(f"encode {add_special:d} {parse_special:d} {data.hex()}").split()]

    def encode_pair(self, first, second):
        answer = [int(i) for i in self.ask(f"pair {first.hex() or '-'} {second.hex() or '-'}").split()]
        return answer[:len(answer) // 2], answer[len(answer) // 2:]

    def decode(self, ids, skip_special):
        return bytes.fromhex(self.ask(f"decode {skip_special:d} " + " ".join(map(str, ids)))).decode()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class HuggingFace:
    def __init__(self, model_dir):
        spec = json.loads((model_dir / "tokenizer.json").read_text())
        self.tokenizer = Tokenizer.from_str(json.dumps(spec))
        self.plain_tokenizer = Tokenizer.from_str(json.dumps(plain_spec(spec)))
        self.plain_tokenizer.encode_special_tokens = True
        for tokenizer in (self.tokenizer, self.plain_tokenizer):
            tokenizer.no_truncation()
            tokenizer.no_padding()
        self.vocab_size = max(self.tokenizer.get_vocab().values()) + 1

    def encode(self, text, add_special, parse_special):
        tokenizer = self.tokenizer if parse_special else self.plain_tokenizer
        return tokenizer.encode(text, add_special_tokens=add_special).ids

    def encode_pair(self, first, second):
        encoding = self.plain_tokenizer.encode(first, second)
        return encoding.ids, encoding.type_ids

    def decode(self, ids, skip_special):
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special)

    modes = [(True, False), (False, True)]
    skip_modes = [True, False]


class SentencePiece:
    def __init__(self, model_dir):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(model_dir / "tokenizer.model"))
        self.vocab_size = self.processor.get_piece_size()

        config = json.loads((model_dir / "tokenizer_config.json").read_text())
        self.prefix = [self.processor.bos_id()] * config["add_bos_token"]
        self.suffix = [self.processor.eos_id()] * config["add_eos_token"]

    def encode(self, text, add_special, parse_special):
        return self.prefix * add_special + self.processor.encode(text) + self.suffix * add_special

    def decode(self, ids, skip_special):
        return self.processor.decode(ids)

    def encode_pair(self, first, second):
        ids = self.prefix + self.processor.encode(first) + self.suffix + self.processor.encode(second) + self.suffix
        return ids, [0] * len(ids)

    # SentencePiece itself has no notion of special tokens in text, and always leaves them out of decoded text.
    modes = [(True, False)]
    skip_modes = [True]


def fixed_cases():
    yield from (text.encode() for text in TEXTS)
    yield from INVALID_UTF8
    for _, text in udhr_texts():
        yield text.encode()
    for char in RUN_CHARS:
        yield (char * RUN_LENGTH).encode()
        yield ("x" + char * 3000 + "y").encode()


def random_fragment(rng, languages):
    kind = rng.randrange(12)
    if kind < 3:
        text = rng.choice(languages)
        start = rng.randrange(len(text))
        return text[start:start + rng.randint(1, 60)].encode()
    if kind == 3:
        return rng.choice(TEXTS)[: rng.randint(1, 40)].encode()
    if kind == 4:
        return "".join(rng.choice(" \t\n\r\u00a0\u3000\u2028\u0085") for _ in range(rng.randint(1, 6))).encode()
    if kind == 5:
        return "".join(chr(rng.randrange(0x20, 0x7F)) for _ in range(rng.randint(1, 20))).encode()
    if kind == 6:
        return rng.choice(INVALID_UTF8)
    if kind == 7:
        return rng.choice(["<|im_start|>", "<mask>", "<right>", "<tool>", "<tool>s", "cohort", "Ünïcode", "<s>", "<unk>", "<|eot_id|>", "</s>", "[MASK]",
                           "[SEP]", "<extra_id_1>", "##ing", "'s", " n't"]).encode()
    if kind == 8:
        return "".join(rng.choice("👩👨👧🏽\u200d\ufe0f🇩🇪🇫🙂❤️") for _ in range(rng.randint(1, 8))).encode()
    if kind == 9:
        return (rng.choice(RUN_CHARS) * rng.randint(2, 120)).encode()
    if kind == 10:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
    # Characters that every Unicode version since 2018 knows alike.
    return "".join(chr(rng.choice([rng.randrange(0xA0, 0x24F), rng.randrange(0x300, 0x36F), rng.randrange(0x400, 0x52F),
                                   rng.randrange(0x900, 0x97F), rng.randrange(0x1100, 0x11FF), rng.randrange(0x2000, 0x206F),
                                   rng.randrange(0x3041, 0x3096), rng.randrange(0xAC00, 0xD7A3), rng.randrange(0xF900, 0xFA6D),
                                   rng.randrange(0xFF01, 0xFFBE), rng.randrange(0x1D400, 0x1D7CB)])) for _ in range(rng.randint(1, 12))).encode()


def random_cases(rng, count):
    languages = [text for _, text in udhr_texts()]
    for _ in range(count):
        yield b"".join(random_fragment(rng, languages) for _ in range(rng.randint(1, 8)))


def report(name, what, case, expected, got):
    at = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    print(f"{name}: {what} differs at {at} of {len(expected)} and {len(got)}\n  case: {case[:300]!r}\n"
          f"  expected ...{expected[max(0, at - 3):at + 8]!r}\n  got      ...{got[max(0, at - 3):at + 8]!r}", flush=True)


def compare(binary, name, model_dir, cases, rng):
    reference = HuggingFace(model_dir) if (model_dir / "tokenizer.json").exists() else SentencePiece(model_dir)
    driver = Driver(binary, model_dir)
    differences = 0
    for case in cases:
        text = case.decode("utf-8", "replace")
        id_lists = []
        for add_special, parse_special in reference.modes:
            expected = reference.encode(text, add_special, parse_special)
            got = driver.encode(case, add_special, parse_special)
            id_lists.append(expected)
            if expected != got:
                differences += 1
                report(name, f"encode (special {add_special}, parse {parse_special})", case, expected, got)
        id_lists.append([rng.randrange(reference.vocab_size) for _ in range(rng.randint(1, 30))])
        for ids in id_lists:
            for skip in reference.skip_modes:
                expected, got = reference.decode(ids, skip), driver.decode(ids, skip)
                if expected != got:
                    differences += 1
                    report(name, f"decode (skip {skip}) of {ids[:40]}", case, expected, got)
        if differences >= 5:
            break
    pairs = [(a.encode(), b.encode()) for a, b in PAIRS] + list(zip(cases[-40::2], cases[-39::2]))
    for first, second in pairs:
        expected = reference.encode_pair(first.decode("utf-8", "replace"), second.decode("utf-8", "replace"))
        got = driver.encode_pair(first, second)
        if list(expected) != list(got):
            differences += 1
            report(name, "pair", first + b" | " + second, *(a[0] + a[1] for a in (expected, got)))
    driver.close()
    return differences


def variants():
    """Tokenizers with other components around the same models."""
    def change(base, **keys):
        spec = json.loads((DATA_DIR / base / "tokenizer.json").read_text())
        spec.update(keys)
        return spec

    def split(pattern, behavior, invert=False):
        return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}

    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    plain_bytes = dict(byte_level, add_prefix_space=False, use_regex=False)
    yield "gpt2+prefix_space", change("gpt2", pre_tokenizer=byte_level)
    yield "gpt2+no_pre_tokenizer", change("gpt2", pre_tokenizer=plain_bytes)
    yield "gpt2+bytes_not_last", change("gpt2", pre_tokenizer={"type": "Sequence", "pretokenizers": [
        plain_bytes, split({"String": "Ġ"}, "MergedWithNext")]})
    yield "gpt2+byte_normalizer", change("gpt2", normalizer={"type": "ByteLevel"}, pre_tokenizer=None)
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield f"gpt2+{behavior}+{invert}", change("gpt2", pre_tokenizer={"type": "Sequence", "pretokenizers": [
                split({"Regex": r"\s|[A-Z]|\w*e"}, behavior, invert), split({"String": "."}, behavior, invert), plain_bytes]})
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield f"qwen2+{form}", change("qwen2", normalizer={"type": form})
    yield "qwen2+lower_strip", change("qwen2", normalizer={"type": "Sequence", "normalizers": [
        {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Lowercase"}, {"type": "NFD"}, {"type": "StripAccents"}]})
    for name, pre in (("whitespace", {"type": "Whitespace"}), ("whitespace_split", {"type": "WhitespaceSplit"}),
                      ("bert", {"type": "BertPreTokenizer"}), ("punctuation", {"type": "Punctuation", "behavior": "Contiguous"}),
                      ("digits", {"type": "Digits", "individual_digits": False}),
                      ("char", {"type": "CharDelimiterSplit", "delimiter": "e"})):
        yield f"unk+{name}", change("unk", normalizer=None, pre_tokenizer=pre)
    for scheme in ("always", "first", "never"):
        for splits in (True, False):
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}
            yield f"mistral+{scheme}+{splits}", change("mistral", pre_tokenizer=metaspace, decoder=metaspace)
    yield "mistral+split_first", change("mistral", pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]})
    for key, value in (("byte_fallback", False), ("fuse_unk", False)):
        spec = change("llama2")
        spec["model"][key] = value
        if key == "fuse_unk":
            spec["model"]["byte_fallback"] = False
        yield f"llama2+{key}", spec
    # The component lists of families, over small vocabularies.
    yield "gpt2+neox", change("gpt2", normalizer={"type": "NFC"}, post_processor=dict(byte_level, add_prefix_space=False))
    yield "gpt2+bloom", change("gpt2", pre_tokenizer={"type": "Sequence", "pretokenizers": [
        split({"Regex": r" ?[^(\s|[.,!?…。，、।۔،])]+"}, "Isolated"), plain_bytes]})
    yield "gpt2+falcon", change("gpt2", pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"}, dict(byte_level, add_prefix_space=False),
        {"type": "Digits", "individual_digits": False}, split({"Regex": "[0-9][0-9][0-9]"}, "Isolated")]})
    yield "llama2+gemma", change("llama2", normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                                 pre_tokenizer=split({"String": " "}, "MergedWithPrevious"),
                                 decoder={"type": "Sequence", "decoders": [
                                     {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                     {"type": "ByteFallback"}, {"type": "Fuse"}]})
    for strip in (True, False, None):
        for lower in (True, False):
            for chinese in (True, False):
                yield f"bert+{strip}+{lower}+{chinese}", change("bert_uncased", normalizer={
                    "type": "BertNormalizer", "clean_text": chinese, "handle_chinese_chars": chinese,
                    "strip_accents": strip, "lowercase": lower})
    yield "bert+whitespace", change("bert_cased", normalizer=None, pre_tokenizer={"type": "WhitespaceSplit"}, post_processor=None)
    spec = change("bert_cased")
    spec["model"].update(continuing_subword_prefix="", max_input_chars_per_word=100)
    yield "bert+no_prefix", spec
    charsmap = charsmap_of_model((DATA_DIR / "sentencepiece_unigram" / "tokenizer.model").read_bytes())
    precompiled = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    yield "t5+nmt_nfkc", change("t5", normalizer=precompiled)
    # Bytes as tokens show exactly what a normalizer makes of a text.
    yield "gpt2+precompiled", change("gpt2", normalizer=precompiled)
    yield "gpt2+nmt", change("gpt2", normalizer={"type": "Nmt"})
    for lower in (True, False):
        yield f"gpt2+bert+{lower}", change("gpt2", normalizer={
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": lower})
    yield "t5+nmt", change("t5", normalizer={"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]})
    metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    yield "t5+old", change("t5", normalizer=precompiled, decoder=metaspace, pre_tokenizer={
        "type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]})
    for scheme in ("first", "never"):
        for splits in (True, False):
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}
            yield f"t5+{scheme}+{splits}", change("t5", pre_tokenizer=metaspace, decoder=metaspace)
    for fallback in (True, False):
        spec = change("t5", pre_tokenizer=None, decoder={"type": "Sequence", "decoders": [
            {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]})
        spec["model"]["vocab"] += [[f"<0x{byte:02X}>", 0.0] for byte in range(256 if fallback else 128)]
        spec["model"]["byte_fallback"] = True
        used = {token for token, _ in spec["model"]["vocab"]}
        for i, token in enumerate(t for t in spec["added_tokens"] if t["content"] not in used):
            token["id"] = len(used) + i
        yield f"t5+bytes+{fallback}", spec
    spec = change("llama2", decoder=None)
    spec["model"].update(byte_fallback=False, unk_token=None)
    yield "llama2+no_unk", spec


def sentencepiece_variants():
    """Unigram models of SentencePiece without pieces that a user defined, as T5 has them."""
    lines = [line for _, text in udhr_texts() for line in text.splitlines()]
    for name, options in (
            ("t5", dict(vocab_size=1500)),
            ("bytes", dict(vocab_size=1500, byte_fallback=True)),
            ("identity", dict(vocab_size=1500, normalization_rule_name="identity", remove_extra_whitespaces=False)),
            ("casefold", dict(vocab_size=1500, normalization_rule_name="nfkc_cf", add_dummy_prefix=False)),
            ("long", dict(vocab_size=2500, split_by_whitespace=False, split_by_unicode_script=False)),
    ):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, model_type="unigram",
                                                 max_sentence_length=100000, minloglevel=2, num_threads=1, character_coverage=0.98, **options)
        yield "sentencepiece+" + name, model.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver")
    parser.add_argument("model_dirs", nargs="*", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=400, help="random texts per tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    differences = 0
    for model_dir in args.model_dirs or sorted(p for p in DATA_DIR.iterdir() if p.is_dir()):
        cases = [*fixed_cases(), *random_cases(rng, args.cases)]
        differences += compare(args.driver, model_dir.name, model_dir, cases, rng)
        print(f"{model_dir.name}: {len(cases)} texts", flush=True)
    if not args.model_dirs:
        with tempfile.TemporaryDirectory() as folder:
            for name, spec in variants():
                path = pathlib.Path(folder) / "tokenizer.json"
                path.write_text(json.dumps(spec))
                cases = [*(t.encode() for t in TEXTS), *random_cases(rng, args.cases // 4)]
                differences += compare(args.driver, name, path.parent, cases, rng)
                print(f"{name}: {len(cases)} texts", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "tokenizer_config.json"
            config.write_text(json.dumps({"add_bos_token": False, "add_eos_token": True}))
            for name, model in sentencepiece_variants():
                (config.parent / "tokenizer.model").write_bytes(model)
                cases = [*fixed_cases(), *random_cases(rng, args.cases)]
                differences += compare(args.driver, name, config.parent, cases, rng)
                print(f"{name}: {len(cases)} texts", flush=True)
    print(f"{differences} differences" if differences else "all equal")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
