"""The texts that tokenizers are compared on, shared by make_golden.py and compare_hf.py."""
import copy
import pathlib
import struct

UDHR_DIR = pathlib.Path(__file__).resolve().parent.parent / "data" / "udhr"

TEXTS = [
    "", " ", "  ", "\n", "\t", " \n \n", "a", " a", "a ", "  two  spaces  ", "Hello, world!", "hello world", "HELLO WORLD",
    "I'm you're he'd she'll they've it's WE'LL I'M y'all 'tis", "It\u2019s \u2018quoted\u2019", "'ſ 'S 'ſt",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n", "for (int i = 0; i < 10; ++i) { a[i] += i*3.14e-5; }",
    "{\"key\": [1, 2.5, null], \"other\": \"v\\n\"}", "<html><body class='x'>&amp;</body></html>", "x=1;y=22;z=333;w=4444;v=55555",
    "1234567890 12 345 6789 ٠١٢٣ ½ ² Ⅷ 一二三", "https://example.org/a/b?c=d&e=f#g user@example.org",
    "naïve café résumé Ünïcode", "nai\u0308ve cafe\u0301 re\u0301sume\u0301", "e\u0301\u0323 e\u0323\u0301 \u1e69 s\u0323\u0307 \u0064\u0307\u0323",
    "ﬁ ﬂ ℌ ① ½ ﷺ ｱ Å \u212b \u2126", "\u1100\u1161\u11a8 각 \uac01 \u1112\u1161\u11ab", "İstanbul ıIiİ ẞß ΑΣ ςσ ΌΣΟΣ",
    "日本語のテキスト。東京タワー", "中文文本，没有空格。人人生而自由", "한국어 텍스트 테스트", "ภาษาไทยไม่มีช่องว่าง", "हिन्दी में लिखा हुआ पाठ",
    "தமிழ் உரை கௌ \u0b95\u0bc6\u0bd7", "نص عربي مع تشكيل مُحَمَّد", "עִבְרִית עם ניקוד", "አማርኛ ጽሑፍ", "Tiếng Việt có dấu", "Ελληνικά και Русский",
    "🙂", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷🇯🇵", "👍🏽👍🏿", "🏳️‍🌈 flag", "1️⃣ keycap #️⃣", "🧑🏻‍🚀 astronaut 🫠", "𝕳𝖊𝖑𝖑𝖔 𝒲 𐍈 𒀀 𠀀",
    "a\u200bb\u200cc\u200dd\ufeffe", "a\u00a0b\u2003c\u3000d\u2028e\u2029f\u0085g\u180eh\u1680i\u202fj", "\x00\x01\x1c\x1f\x7f\x80", "\r\n\r\n \r \n\r",
    "end with spaces   ", "   start with spaces", "tabs\t\tand\t spaces \t", "line\n\n\n  indented\n   more\n", "a\n b\n\n c",
    "\ufffd", "\ufffd\ufffdx", "▁ ▁▁ a▁b ▁lead", "Ġ Ċ <0xE2> <0x0A>", "<unk> <s> </s>", "<s>Hello</s>",
    "<|im_start|>user\nHi<|im_end|>", "<|begin_of_text|>x<|eot_id|>", "<|endoftext|>", "a <mask> b", "a   <mask>b<mask>  <mask>", "a <right>   b<right>c",
    "<tool>call<tool>s  after", "a <tool>  <tool>s <tool>sx", "the cohort cohorts cohort. xcohort cohort_ Cohort cohort", "U\u0308ni\u0308code Ünïcode ünïcode",
    "<right>  <mask> <tool>", "<|im_start|><|im_start|><|im_end", " xylophonist xylophonist xylophonists", "one,two,,three, four ,FIVE,six SEVEN eight ABCdef 12ab34 5",
    "___ snake_case camelCase kebab-case SCREAMING_CASE", "!!!??? ... --- *** $$$ +++ ~~~ ^^^ ```", "¡¿«»„“”‘’–—…§¶†‡•", "ⒶⒷ🅰🅱 \u0345\u24d0",
    "Whereas recognition of the inherent dignity and of the equal and inalienable rights", "a" * 200, " " * 150 + "x", "ab" * 100, "\n" * 100, "é" * 90,
    "[CLS] a [SEP] [MASK] [UNK] [PAD]", "un##happy ##ly # #", "x</s>y <pad> <extra_id_0> <extra_id_1>!", "don't 's 've ' 'm do not . ? ! ,",
    "Antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "東京 Tower で 会いましょう 한국", "\x00a\x85b\x0bc\x7fd\ufffde\u00adf\u200dg",
    "ÀÉÎÕÜ Ñandú Ångström ẞ ĲŁ Ø ŉ ǆ", "１２３ ＡＢＣ ｶﾞｷﾞ ﾊﾟ ㍿ ㌔ ™ ℡ ﬁ\u0301 e\u0301\u0301 ℃", "a\u0300\u0301\u0302b", "𠀋 𪚥 丽 豈 﨎",
    "🙂" * 40, "the " * 60, "=" * 130, "aaaa bbbb " * 20, "한" * 70, "x" * 61 + " " + "y" * 62 + " " + "z" * 63,
]

INVALID_UTF8 = [
    b"\xff", b"abc\xffdef", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82 x", b"\xe2(\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98 tail", b"\xf0(\x8c\xbc",
    b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80\x80\x80", b"ok\xf0\x80\x80\x80ok",
    "é".encode() + b"\xe9" + "é".encode(), b"\xf1\x80\x80\xc3\xa9", b"\xfe\xfe\xff\xff", b"a\xed\xbf\xbfb", b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41",
]


PAIRS = [
    ("Who is it?", "It's me, Mario."), ("", ""), ("only the first", ""), ("", "only the second"), ("naïve café", "日本語のテキスト"),
    ("<s>a</s> [SEP] b", "<|im_start|>c [CLS]"), ("  a ", " b\n"), ("the " * 40, "cohort " * 30),
]


def udhr_texts():
    for path in sorted(UDHR_DIR.glob("*.txt")):
        yield path.stem, path.read_bytes().decode()


def plain_spec(spec):
    """A tokenizer.json of which no text becomes a special token, as Cohort has it unless told otherwise.

    `encode_special_tokens` leaves them to the model, and a model of words or scores finds them in its vocabulary all the
    same. Here they have names that no text has.
    """
    spec = copy.deepcopy(spec)
    vocab = spec["model"]["vocab"]
    if spec["model"]["type"] == "BPE":
        return spec
    for token in spec["added_tokens"]:
        if not token["special"]:
            continue
        hidden = "\ue0f0" + token["content"]
        if isinstance(vocab, dict):
            spec["model"]["vocab"] = vocab = {hidden if t == token["content"] else t: i for t, i in vocab.items()}
        else:
            vocab[:] = [[hidden if t == token["content"] else t, score] for t, score in vocab]
        if spec["model"].get("unk_token") == token["content"]:
            spec["model"]["unk_token"] = hidden
        token["content"] = hidden
    return spec


def fnv1a64(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
