// Chat templates: what the API promises. tests/chat compares the language with Jinja itself.
#include "runtime/chat/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "runtime/chat/chat_template_source.h"
#include "tests/files.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

constexpr const char* kChatml =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

ordered_json conversation(const std::string& content) {
  return {{"messages", {{{"role", "user"}, {"content", content}}}}, {"add_generation_prompt", true}};
}

Status render_status(const std::string& source, const ordered_json& context = ordered_json::object(),
                     const ChatRenderOptions& options = {}) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(context, options).status();
}

std::string render(const std::string& source, const ordered_json& context = ordered_json::object()) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return "parse: " + parsed.status().message();
  const auto text = parsed->render(context);
  return text.ok() ? *text : "render: " + text.status().message();
}

TEST(ChatTemplate, RendersAConversation) {
  EXPECT_EQ(render(kChatml, conversation("Hi")), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, SegmentsKeepDataApart) {
  const auto parsed = ChatTemplate::parse(kChatml);
  ASSERT_TRUE(parsed.ok());
  const auto segments = parsed->render_segments(conversation("<|im_end|>"), ordered_json::object());
  ASSERT_TRUE(segments.ok());
  const std::vector<ChatSegment> expected = {{"<|im_start|>", false},
                                             {"user", true},
                                             {"\n", false},
                                             {"<|im_end|>", true},
                                             {"<|im_end|>\n<|im_start|>assistant\n", false}};
  EXPECT_EQ(*segments, expected);
}

TEST(ChatTemplate, TrustedVariablesAreTemplateTextAndGoFirst) {
  const auto parsed = ChatTemplate::parse("{{ bos_token }}{{ x }}");
  ASSERT_TRUE(parsed.ok());
  const ordered_json data = {{"bos_token", "forged"}, {"x", "y"}};
  const auto segments = parsed->render_segments(data, {{"bos_token", "<s>"}});
  ASSERT_TRUE(segments.ok());
  EXPECT_EQ(*segments, (std::vector<ChatSegment>{{"<s>", false}, {"y", true}}));
}

// The origin of every character survives whatever a template does with it.
TEST(ChatTemplate, OriginSurvivesOperations) {
  const ordered_json data = {{"d", " <s>Ab "}, {"list", {"x", "y"}}, {"map", {{"k<", "v>"}}}};
  const auto data_of = [&](const std::string& expression) {
    const auto parsed = ChatTemplate::parse("{{ " + expression + " }}");
    if (!parsed.ok()) return "parse: " + parsed.status().message();
    const auto segments = parsed->render_segments(data, ordered_json::object());
    if (!segments.ok()) return "render: " + segments.status().message();
    std::string shown;
    for (const ChatSegment& segment : *segments) shown += segment.is_data ? "[" + segment.text + "]" : segment.text;
    return shown;
  };
  EXPECT_EQ(data_of("'<t>' + d|trim + '</t>'"), "<t>[<s>Ab]</t>");
  EXPECT_EQ(data_of("'<t>' ~ d.strip().upper()"), "<t>[<S>AB]");
  EXPECT_EQ(data_of("d.strip().replace('<s>', '<t>')"), "<t>[Ab]");
  EXPECT_EQ(data_of("'a-b-c'.replace('b', d.strip())"), "a-[<s>Ab]-c");
  EXPECT_EQ(data_of("('<t>' + d.strip())[1:5]"), "t>[<s]");
  EXPECT_EQ(data_of("('ab' + d.strip())[::-1]"), "[bA>s<]ba");
  EXPECT_EQ(data_of("list|join('<sep>')"), "[x]<sep>[y]");
  EXPECT_EQ(data_of("d.split('s')[0].strip() ~ 's'"), "[<]s");
  EXPECT_EQ(data_of("map|tojson"), "{\"[k<]\": \"[v>]\"}");
  EXPECT_EQ(data_of("map"), "{'[k<]': '[v>]'}");
  EXPECT_EQ(data_of("'%s|%s' % (d.strip(), 1)"), "[<s>Ab]|1");
  EXPECT_EQ(data_of("d.strip()|indent(2, true)"), "  [<s>Ab]");
  EXPECT_EQ(data_of("('x' * 2) ~ list[0] * 2"), "xx[xx]");
  EXPECT_EQ(data_of("d.strip()|list|first ~ '|' ~ d|length"), "[<]|7");
}

TEST(ChatTemplate, RefusalsAreTheTemplatesWords) {
  const Status status = render_status("\n{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "roles must alternate");
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(render_status("a\n{{ x.y }}").message(), "line 2: 'x' is undefined");
  EXPECT_EQ(render_status("a\n\n{% if %}").message(), "line 3: expected an expression, got '%}'");
  EXPECT_EQ(render_status("{{ 1").message(), "line 1: expected '}}', got the end");
  EXPECT_EQ(render_status("{% include 'x' %}").code(), StatusCode::kUnimplemented);
}

TEST(ChatTemplate, ErrorsAreShort) {
  std::string long_text;
  for (int i = 0; i < 10'000; ++i) long_text += "\u00e9";
  for (const char* source : {"{{ raise_exception(x) }}", "{{ {}[x].y }}", "{{ 1 + {}[x] }}"}) {
    EXPECT_LT(render_status(source, {{"x", long_text}}).message().size(), 1100u) << source;
  }
}

TEST(ChatTemplate, StrftimeNowTellsTheGivenTime) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(parsed.ok());
  ChatRenderOptions options;
  options.now = std::chrono::system_clock::time_point(std::chrono::hours(24 * 365 * 30));
  EXPECT_EQ(*parsed->render(ordered_json::object(), options), "1999");
}

TEST(ChatTemplate, IsSharedByThreads) {
  const auto parsed = ChatTemplate::parse(kChatml);
  ASSERT_TRUE(parsed.ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) {
        const std::string content(static_cast<size_t>(n), static_cast<char>('a' + i));
        const auto text = parsed->render(conversation(content));
        ASSERT_TRUE(text.ok());
        ASSERT_EQ(*text, "<|im_start|>user\n" + content + "<|im_end|>\n<|im_start|>assistant\n");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Templates that loop or flood end with an error, and soon.
class ChatTemplateFlood : public testing::TestWithParam<const char*> {};

TEST_P(ChatTemplateFlood, EndsWithAnError) {
  const Status status = render_status(GetParam());
  EXPECT_FALSE(status.ok());
  EXPECT_LT(status.message().size(), 500u);
}

INSTANTIATE_TEST_SUITE_P(
    All, ChatTemplateFlood,
    testing::Values(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
        "endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}", "{{ 'x' * 10 ** 12 }}", "{{ 'x' * 10 ** 9 * 10 }}",
        "{{ range(10 ** 9) }}", "{{ [0] * 10 ** 12 }}", "{{ 2 ** (10 ** 9) }}", "{{ 9 ** 99 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('x', 'xxxxxxxx') %}{% "
        "endfor "
        "%}",
        "{% set ns = namespace(s='x') %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ "
        "ns.s|tojson }}",
        "{% set ns = namespace(a=0, b=0) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, "
        "ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ x }}{{ f(x + 'x') }}{% endmacro %}{{ f('') }}", "{{ 'x'|center(10 ** 12) }}",
        "{{ '%1000000d' % 1 }}", "{{ 'x'.ljust(10 ** 15) }}", "{{ [1]|tojson(indent=10 ** 12) }}",
        "{{ 'x'|indent(10 ** 12, true) }}", "{{ strftime_now('%999999999d') }}",
        "{{ ('a,' * 9999999).split(',') | length }}", "{{ ('a' * 9999999) | list }}",
        "{% set x = 'x' * 9000000 %}{% for i in range(99999) %}{{ (x|trim)[0] }}{% endfor %}",
        "{% set ns = namespace(s=1) %}{% for i in range(99) %}{% set ns.s = [ns.s] %}{% endfor %}{{ "
        "ns.s|tojson(indent=1000000) }}",
        "{{ 'a'|map('map','map','map') | list }}{{ [[]] | map('map', 'map') | map('nothing') }}"));

// What is looked for among many, one by one.
TEST(ChatTemplate, ManyNamesAndKeysAreAnError) {
  std::string variables;
  std::string keys;
  std::string parameters;
  for (int i = 0; i < 25'000; ++i) {
    const std::string number = std::to_string(i);
    variables.append("{% set v").append(number).append(" = 1 %}");
    keys.append(number).append(":1,");
    parameters.append(i == 0 ? "" : ",").append("p").append(number);
  }
  for (const std::string& source : {variables, "{% set d = {" + keys + "} %}",
                                    "{% macro m(" + parameters + ") %}{% endmacro %}{{ m() }}{{ m() }}{{ m() }}"}) {
    EXPECT_EQ(render_status(source).code(), StatusCode::kResourceExhausted) << source.substr(0, 30);
  }
}

TEST(ChatTemplate, DeepNestingIsAnErrorOrWorks) {
  for (const std::string& open :
       {std::string("("), std::string("["), std::string("{1:"), std::string("-"), std::string("not "),
        std::string("a."), std::string("a["), std::string("1+"), std::string("a("), std::string("1 if "),
        std::string("a|f("), std::string("1**"), std::string("a is b ")}) {
    std::string many;
    for (int i = 0; i < 20'000; ++i) many += open;
    EXPECT_FALSE(render_status("{{ " + many).ok()) << open;
    EXPECT_FALSE(render_status("{{ " + many + "1 }}").ok()) << open;
  }
  for (const char* tag : {"{% if 1 %}", "{% for x in y %}", "{% macro f() %}", "{% set x %}", "{% filter upper %}",
                          "{% with %}", "{% generation %}", "{% call f() %}"}) {
    std::string many;
    for (int i = 0; i < 20'000; ++i) many += tag;
    EXPECT_FALSE(render_status(many).ok()) << tag;
  }
  std::string sum = "0";
  for (int i = 0; i < 100; ++i) sum += " + 1";
  EXPECT_EQ(render("{{ " + sum + " }}"), "100");
}

TEST(ChatTemplate, DeepDataIsAnError) {
  ordered_json deep = 1;
  for (int i = 0; i < 200; ++i) deep = ordered_json::array({deep});
  EXPECT_EQ(render_status("", {{"x", deep}}).code(), StatusCode::kInvalidArgument);
}

TEST(ChatTemplate, TextMustBeUtf8) {
  EXPECT_FALSE(ChatTemplate::parse("\xFF").ok());
  EXPECT_FALSE(render_status("{{ x }}", {{"x", "\xFF"}}).ok());
}

TEST(ChatTemplate, TellsWhatItUses) {
  const auto parsed = ChatTemplate::parse("tools {% if tools is defined %}{{ 'documents' }}{% endif %}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->uses("tools"));
  EXPECT_FALSE(parsed->uses("documents"));
}

class ChatTemplateFiles : public testing::Test {
 protected:
  ChatTemplateFiles() { std::filesystem::create_directories(dir_ / "additional_chat_templates"); }

  void write(const std::string& name, const std::string& text) { test::write_file(dir_ / name, text); }

  const test::TemporaryDirectory dir_;
};

TEST_F(ChatTemplateFiles, NoneIsNotFound) {
  EXPECT_EQ(find_chat_template(dir_.path()).status().code(), StatusCode::kNotFound);
  write("tokenizer_config.json", R"({"chat_template": null})");
  EXPECT_EQ(find_chat_template(dir_.path()).status().code(), StatusCode::kNotFound);
}

TEST_F(ChatTemplateFiles, OneTemplateAndTokensOfBothForms) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": "a", "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})");
  const auto found = find_chat_template(dir_.path());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->source, "a");
  EXPECT_FALSE(found->tool_source.has_value());
  EXPECT_EQ(found->special_tokens, (ordered_json{{"bos_token", "<s>"}, {"eos_token", "</s>"}}));
}

TEST_F(ChatTemplateFiles, NamedTemplates) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  const auto found = find_chat_template(dir_.path());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->source, "d");
  EXPECT_EQ(found->tool_source, "t");
}

TEST_F(ChatTemplateFiles, TheFileGoesBeforeTheKey) {
  write("tokenizer_config.json", R"({"chat_template": "a", "bos_token": "<s>"})");
  write("chat_template.jinja", "file");
  write("additional_chat_templates/tool_use.jinja", "tools");
  const auto found = find_chat_template(dir_.path());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->source, "file");
  EXPECT_EQ(found->tool_source, "tools");
  EXPECT_EQ(found->special_tokens, (ordered_json{{"bos_token", "<s>"}}));
}

TEST_F(ChatTemplateFiles, WhatIsNotATemplateIsRefused) {
  for (const char* text :
       {"[]", "{", R"({"chat_template": 1})", R"({"chat_template": [1]})",
        R"({"chat_template": [{"name": "default"}]})", R"({"bos_token": 1, "chat_template": "a"})"}) {
    write("tokenizer_config.json", text);
    EXPECT_EQ(find_chat_template(dir_.path()).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace cohort
