"""The character map of a SentencePiece model, for tokenizers of tests."""
import base64
import contextlib
import io
import tempfile
import unicodedata

import sentencepiece


def _fields(message):
    """The (number, value) pairs of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value = message[at:at + size]
            at += size
        yield key >> 3, value


def charsmap_of_model(model):
    """precompiled_charsmap of the bytes of a tokenizer.model, in base64."""
    normalizer_spec = next(value for number, value in _fields(model) if number == 3)
    return base64.b64encode(next(value for number, value in _fields(normalizer_spec) if number == 2)).decode()


def small_rules():
    """Some hundred rules of the kinds that nmt_nfkc has: (text, replacement)."""
    for code in [*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]:
        yield chr(code), ""
    for code in [0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD]:
        yield chr(code), " "
    done = {0xFEFF, *range(0x200B, 0x2010), 0x2028, 0x2029}
    for first, last in [(0xA0, 0x24F), (0x2000, 0x206F), (0x2100, 0x214F), (0x2160, 0x217F), (0x2460, 0x2473), (0xFB00, 0xFB06),
                        (0xFF01, 0xFF9F), (0x3000, 0x3000), (0xF900, 0xF910), (0x1100, 0x1112)]:
        for code in range(first, last + 1):
            text = chr(code)
            if unicodedata.normalize("NFKC", text) != text and code not in done:
                yield text, unicodedata.normalize("NFKC", text)
            decomposed = unicodedata.normalize("NFD", text)
            if len(decomposed) > 1 and unicodedata.normalize("NFC", decomposed) != decomposed:
                yield decomposed, unicodedata.normalize("NFC", decomposed)


@contextlib.contextmanager
def small_rules_file():
    """The name of a file with small_rules(), for the option normalization_rule_tsv of SentencePiece."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as file:
        for texts in dict(small_rules()).items():
            file.write("\t".join(" ".join(f"{ord(char):X}" for char in text) for text in texts) + "\n")
        file.flush()
        yield file.name


def small_charsmap(training_lines):
    """A character map of small_rules() as SentencePiece compiles it, in base64."""
    model = io.BytesIO()
    with small_rules_file() as rules:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(training_lines), model_writer=model, vocab_size=3000, hard_vocab_limit=False,
            character_coverage=0.98, normalization_rule_tsv=rules, minloglevel=2, num_threads=1)
    return charsmap_of_model(model.getvalue())
