"""Sentences of the King James Bible and of Shakespeare, for the scripts that train classifier/ and restorer/.

The texts are kjv.txt and shakespeare.txt as quickstart/README.md describes them, cut into the same documents, of which
every twentieth is held out. Names of speakers are left out. A sentence ends with . ? or !; one of more than
`max_chars` characters is cut at colons and semicolons, then at commas, and its parts are joined again as long as they
fit, so that none is longer. A held-out sentence that training text has too, word for word, is left out.
"""

import random
import re

SOURCES = ("King James", "Shakespeare")
SENTENCE_END = re.compile(r"(?<=[.?!])\s+|(?<=[.?!]['\")])\s+")
CLAUSE_ENDS = (re.compile(r"(?<=[:;])\s+"), re.compile(r"(?<=,)\s+"))


def read_documents(data_dir):
    """Returns [documents of the source for source in SOURCES], a document being one line of text."""
    bible = [" ".join(p.split()) for p in (data_dir / "kjv.txt").read_text("utf-8").split("\n\n") if p.strip()]
    plays, document, num_chars = [], [], 0
    for speech in (data_dir / "shakespeare.txt").read_text("utf-8").strip("\n").split("\n\n"):
        _, _, spoken = speech.partition(":\n")
        document += spoken.split()
        num_chars += len(speech) + 2
        if num_chars >= 3000:
            plays.append(" ".join(document))
            document, num_chars = [], 0
    if document:
        plays.append(" ".join(document))
    return [bible, plays]


def cut(text, max_chars, ends=CLAUSE_ENDS):
    """Returns the parts of `text` between the ends of clauses, each of at most `max_chars` characters."""
    if len(text) <= max_chars:
        return [text]
    if not ends:
        return []
    parts = []
    for part in (p for clause in ends[0].split(text) for p in cut(clause, max_chars, ends[1:])):
        if parts and len(parts[-1]) + 1 + len(part) <= max_chars:
            parts[-1] += " " + part
        else:
            parts.append(part)
    return parts


def sentences(document, min_words, max_chars):
    found = (part for sentence in SENTENCE_END.split(document) for part in cut(sentence, max_chars))
    return [s for s in found if len(s.split()) >= min_words]


def read_sentences(data_dir, min_words, max_chars):
    """Returns (training, held-out), each [sentences of the source for source in SOURCES]."""
    train, held_out = [], []
    for documents in read_documents(data_dir):
        parts = [sentences(d, min_words, max_chars) for d in documents]
        train.append([s for i, d in enumerate(parts) if i % 20 != 10 for s in d])
        held_out.append([s for i, d in enumerate(parts) if i % 20 == 10 for s in d])
    known = {s.lower() for source in train for s in source}
    return train, [list(dict.fromkeys(s for s in source if s.lower() not in known)) for source in held_out]


def sample(held_out, num_per_source):
    """Returns (index of the source, sentence) of a fixed choice of held-out sentences, the sources taking turns."""
    chosen = [random.Random(1).sample(source, num_per_source) for source in held_out]
    return [(i, s) for pair in zip(*chosen) for i, s in enumerate(pair)]
