"""The tiny encoders of tests/data/golden_encoders for the tests: what Hugging Face makes of their inputs, and folders of
them with a tokenizer."""

import array
import json
import math
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/data/golden_encoders"
NUM_PROMPTS = 4
MASKED_STEP = 16  # logits over the vocabulary are kept of every so manyth token

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCAB = SPECIAL + list(LETTERS) + [f"##{c}" for c in LETTERS] + [f"{a}{b}" for a in LETTERS for b in LETTERS]
CLS, SEP, MASK = 2, 3, 4


def golden(name):
    return read_golden(GOLDEN / name)


def read_golden(checkpoint):
    """The tensors of golden.safetensors as flat lists, and their shapes, by name."""
    data = (checkpoint / "golden.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    tensors = {}
    for key, entry in json.loads(data[8 : 8 + size]).items():
        if key != "__metadata__":
            begin, end = entry["data_offsets"]
            values = array.array({"F32": "f", "I32": "i"}[entry["dtype"]], data[8 + size + begin : 8 + size + end])
            tensors[key] = (list(values), entry["shape"])
    return tensors


def flat(values):
    """The numbers of lists within lists."""
    return [x for row in values for x in flat(row)] if isinstance(values, list) else [values]


def relative_error(actual, expected):
    assert len(actual) == len(expected), (len(actual), len(expected))
    difference = sum((a - e) ** 2 for a, e in zip(actual, expected))
    return math.sqrt(difference / sum(e * e for e in expected))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def token_ids(text):
    """Of a text of words of one or two letters, as the tokenizer of with_tokenizer() has them."""
    return [VOCAB.index(word) for word in text.split()]


def with_tokenizer(name, folder):
    """Copies the checkpoint of a name to `folder`, with a WordPiece tokenizer of VOCAB beside it."""
    return copy_with_tokenizer(GOLDEN / name, folder)


def copy_with_tokenizer(checkpoint, folder):
    shutil.copytree(checkpoint, folder)
    special = [
        dict(id=i, content=token, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for i, token in enumerate(SPECIAL)
    ]
    cls, sep = (dict(SpecialToken=dict(id=token, type_id=0)) for token in ("[CLS]", "[SEP]"))
    sep_b = dict(SpecialToken=dict(id="[SEP]", type_id=1))
    a, b = dict(Sequence=dict(id="A", type_id=0)), dict(Sequence=dict(id="B", type_id=1))
    tokenizer = dict(
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=special,
        normalizer=dict(
            type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
        ),
        pre_tokenizer=dict(type="BertPreTokenizer"),
        post_processor=dict(
            type="TemplateProcessing",
            single=[cls, a, sep],
            pair=[cls, a, sep, b, sep_b],
            special_tokens={
                token: dict(id=token, ids=[SPECIAL.index(token)], tokens=[token]) for token in ("[CLS]", "[SEP]")
            },
        ),
        decoder=dict(type="WordPiece", prefix="##", cleanup=True),
        model=dict(
            type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100,
            vocab={token: i for i, token in enumerate(VOCAB)},
        ),
    )  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = dict(
        tokenizer_class="BertTokenizer", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", unk_token="[UNK]",
        pad_token="[PAD]",
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
