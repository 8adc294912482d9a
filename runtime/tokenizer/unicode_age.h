// Which characters the tables of Hugging Face `tokenizers` do not know yet: its Rust crates are older than the Unicode
// data of utf8proc, and a mark or a punctuation character that is new to them is a letter like any other.
#pragma once

namespace cohort {

// Of marks, punctuation and format characters: whether `c` came after Unicode 9.
bool is_newer_than_unicode_9(char32_t c);

// Of nonspacing marks: whether `c` came after Unicode 8.
bool is_newer_than_unicode_8(char32_t c);

}  // namespace cohort
