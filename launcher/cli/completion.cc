// cohort completion: shell completion, made from the program's own flags so that it cannot fall behind them.
#include <fmt/format.h>

#include "launcher/cli/command.h"

namespace cohort {
namespace {

// Words that can follow: flags, and the names of subcommands.
std::string words_of(const CLI::App& app) {
  std::string words;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) words += sub->get_name() + " ";
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

std::string bash_script(const CLI::App& app) {
  // By the first two words, of which the second may be any but where the first has commands of its own.
  std::string cases;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    for (const CLI::App* inner : sub->get_subcommands(nullptr)) {
      cases += fmt::format("    '{} {}') words=\"{}\" ;;\n", sub->get_name(), inner->get_name(), words_of(*inner));
    }
    cases += fmt::format("    '{} '*) words=\"{}\" ;;\n", sub->get_name(), words_of(*sub));
  }
  return fmt::format(R"(_cohort() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words second=
  if [ "$COMP_CWORD" -gt 2 ]; then second="${{COMP_WORDS[2]}}"; fi
  case "${{COMP_WORDS[1]}} $second" in
{}    *) words="{}" ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="{}"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -o bashdefault -F _cohort cohort
)",
                     cases, words_of(app), words_of(app));
}

}  // namespace

void add_completion(CLI::App& app, Run& run) {
  CLI::App& command =
      *app.add_subcommand("completion", "Print a shell's completion script: source <(cohort completion bash)");
  auto shell = std::make_shared<std::string>();
  command.add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command.callback([shell, &app, &run] {
    run = [shell, &app] {
      if (*shell == "zsh") fmt::print("autoload -U +X bashcompinit && bashcompinit\n");
      fmt::print("{}", bash_script(app));
      return flush_output();
    };
  });
}

}  // namespace cohort
