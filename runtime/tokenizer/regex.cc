#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/tokenizer/regex.h"

#include <pcre2.h>

#include "kernels/core/check.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr size_t kJitStackBytes = 32 * 1024;
constexpr size_t kMaxJitStackBytes = 64 * 1024 * 1024;

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

// \w of Oniguruma, as members of a class.
constexpr std::string_view kWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

// What an escape must become for PCRE2 to read it as Oniguruma does; "" where both agree.
Result<std::string> translate_escape(char escape, bool in_class) {
  switch (escape) {
    case 's':  // PCRE2 also counts U+180E
      return std::string(R"(\p{White_Space})");
    case 'S':
      return std::string(R"(\P{White_Space})");
    case 'w':
      return in_class ? std::string(kWordMembers) : "[" + std::string(kWordMembers) + "]";
    case 'W':
      if (in_class) return unimplemented("\\W within a class is not supported");
      return "[^" + std::string(kWordMembers) + "]";
    case 'h':  // hexadecimal digit there, horizontal space here
      return std::string(in_class ? "0-9a-fA-F" : "[0-9a-fA-F]");
    case 'H':
      if (in_class) return unimplemented("\\H within a class is not supported");
      return std::string("[^0-9a-fA-F]");
    default:
      return std::string();
  }
}

// Whether a group opens with the option m, which is s to PCRE2: "(?m)", "(?im:".
bool changes_dot(std::string_view rest) {
  if (!rest.starts_with("(?")) return false;
  const size_t end = rest.find_first_not_of("imx", 2);
  return end != rest.npos && (rest[end] == ':' || rest[end] == ')' || rest[end] == '-') &&
         rest.substr(2, end - 2).find('m') != rest.npos;
}

// Appends the members of the class within a class that `rest` begins with to those of the outer one: the two are
// united. Returns the length of the class. Only for plain members, and away from any range.
Result<size_t> append_nested_class(std::string_view rest, std::string& out) {
  const size_t end = rest.find(']');
  const std::string_view members = rest.substr(1, end == rest.npos ? end : end - 1);
  const bool is_plain = !members.empty() && members.find_first_of("[\\-&") == members.npos && members[0] != '^';
  if (end == rest.npos || !is_plain || out.ends_with('-') || rest.substr(end + 1).starts_with('-')) {
    return unimplemented("such a class within a class is not supported");
  }
  out += members;
  return end + 1;
}

// Rewrites the few escapes whose meaning differs, and refuses what PCRE2 would silently read
// differently.
Result<std::string> translate(std::string_view pattern) {
  std::string out;
  int class_depth = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const std::string_view rest = pattern.substr(i);
    if (c == '\\' && i + 1 < pattern.size()) {
      if (pattern[i + 1] == 'u' && rest.size() >= 6) {  // \uHHHH
        out.append("\\x{").append(rest.substr(2, 4)).append("}");
        i += 5;
        continue;
      }
      COHORT_ASSIGN_OR_RETURN(const std::string escape, translate_escape(pattern[i + 1], class_depth > 0));
      out += escape.empty() ? rest.substr(0, 2) : std::string_view(escape);
      ++i;
      continue;
    }
    if (class_depth > 0 && rest.starts_with("[:")) {
      const size_t end = rest.find(":]");
      if (end != std::string_view::npos) {
        out += rest.substr(0, end + 2);
        i += end + 1;
        continue;
      }
    }
    if (class_depth > 0 && c == '[') {
      COHORT_ASSIGN_OR_RETURN(const size_t length, append_nested_class(rest, out));
      i += length - 1;
      continue;
    }
    if (class_depth > 0 && rest.starts_with("&&")) {
      return unimplemented("the intersection of classes is not supported");
    }
    if (c == '[') {
      ++class_depth;
      // A "]" that comes first is a member.
      const size_t first = rest.starts_with("[^") ? 2 : 1;
      const size_t length = rest.substr(first).starts_with("]") ? first + 1 : first;
      out += rest.substr(0, length);
      i += length - 1;
      continue;
    }
    if (c == ']' && class_depth > 0) --class_depth;
    if (class_depth == 0 && changes_dot(rest)) {
      return unimplemented("the option m (\".\" matches line ends) is not supported");
    }
    out += c;
  }
  return out;
}

std::string error_text(int code) {
  char buffer[256] = {};
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(buffer), sizeof(buffer));
  return buffer;
}

}  // namespace

struct RegexScratch::Impl {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackBytes, kMaxJitStackBytes, nullptr);

  Impl() {
    COHORT_CHECK(context != nullptr && data != nullptr, "PCRE2 is out of memory");
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Impl() {
    pcre2_jit_stack_free(stack);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

RegexScratch::RegexScratch() : impl_(std::make_unique<Impl>()) {}
RegexScratch::~RegexScratch() = default;

struct Regex::Impl {
  std::unique_ptr<pcre2_code, CodeDeleter> code;
  bool has_jit = false;
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  const auto fail = [&](const std::string& what) {
    return invalid_argument("regular expression \"" + std::string(pattern) + "\": " + what);
  };
  Result<std::string> translated = translate(pattern);
  if (!translated.ok()) return fail(translated.status().message());
  int error_code = 0;
  size_t error_offset = 0;
  auto impl = std::make_unique<Impl>();
  // Ruby's ^ and $ always match at lines.
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error_code,
                                 &error_offset, nullptr));
  if (impl->code == nullptr) {
    return fail(error_text(error_code) + " at offset " + std::to_string(error_offset) + " of \"" + *translated + "\"");
  }
  impl->has_jit = pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(impl));
}

Result<Regex> Regex::literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && is_punctuation(static_cast<char32_t>(c))) pattern += '\\';
    pattern += c;
  }
  return compile(pattern);
}

bool Regex::search(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const {
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  RegexScratch::Impl& memory = *scratch.impl_;
  int rc;
  if (impl_->has_jit) [[likely]] {
    rc = pcre2_jit_match(impl_->code.get(), subject, text.size(), from, 0, memory.data, memory.context);
  } else {
    // The text is known to be valid; checking it again at each match would be quadratic.
    rc = pcre2_match(impl_->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, memory.data, memory.context);
  }
  if (rc < 0) return false;
  const size_t* offsets = pcre2_get_ovector_pointer(memory.data);
  match = {offsets[0], offsets[1]};
  return true;
}

bool Regex::Iterator::next(Match& match) {
  while (pos_ <= text_.size() && regex_.search(text_, pos_, scratch_, match)) {
    // \K in a lookaround can put the start behind the end, or a match behind the one before.
    if (match.begin > match.end || match.begin < pos_) return false;
    if (match.begin == match.end && match.end == last_end_) {
      pos_ += pos_ < text_.size() ? utf8_length(text_[pos_]) : 1;
      continue;
    }
    pos_ = match.end;
    last_end_ = match.end;
    return true;
  }
  return false;
}

}  // namespace cohort
