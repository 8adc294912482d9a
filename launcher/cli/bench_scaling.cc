// cohort bench scaling: the flags of scaling_run.h, and what becomes of its report.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/rank_engine.h"
#include "launcher/cli/scaling_picture.h"
#include "launcher/cli/scaling_run.h"
#include "runtime/config/config_loader.h"

namespace cohort {
namespace {

struct ScalingFlags {
  std::vector<std::string> layouts;
  ScalingOptions options;
  std::string json_file;  // or "-"
  std::string svg_file;

  bool has_json_file() const { return !json_file.empty() && json_file != "-"; }
};

std::string head_line(const nlohmann::ordered_json& head) {
  const auto text = [&](const char* key) { return head[key].get<std::string>(); };
  return fmt::format("{}, {} weights, {}, {}, on {} x {}, cohort {}\n", text("model"), text("weights"), text("dtype"),
                     text("numerics"), head["num_ranks"].get<int>(), text("device"), text("build"));
}

Status report_scaling(const ScalingReport& report, const ScalingFlags& flags) {
  const std::string json_text = scaling_json(report).dump(2) + "\n";
  if (flags.json_file == "-") {
    fmt::print("{}", json_text);
  } else {
    fmt::print("{}{}", head_line(report.head), format_scaling_table(report));
  }
  COHORT_RETURN_IF_ERROR(flush_output());
  if (flags.has_json_file()) COHORT_RETURN_IF_ERROR(write_output(flags.json_file, json_text));
  return flags.svg_file.empty() ? ok_status() : write_output(flags.svg_file, draw_scaling(report));
}

// Before what takes long.
Status check_files(const ScalingFlags& flags) {
  if (flags.has_json_file()) COHORT_RETURN_IF_ERROR(can_write(flags.json_file));
  return flags.svg_file.empty() ? ok_status() : can_write(flags.svg_file);
}

Status bench_scaling(Job& job, const Config& config, const ScalingFlags& flags, bool dry_run) {
  std::vector<ScalingLayout> layouts;
  job.agree([&]() -> Status {
    layouts = parse_scaling_layouts(flags.layouts, job.size());
    return job.rank() == 0 ? check_files(flags) : ok_status();
  });
  const ScalingOptions& options = flags.options;
  job.check_same(fmt::format("{}{}layouts={}\nbatches={}\nlengths={} {}\nweak={}\n", canonical_config(config),
                             build_facts(), fmt::join(flags.layouts, ","), fmt::join(options.batches, ","),
                             options.input_length, options.output_length, options.has_weak));
  if (dry_run) {
    print_scaling_plans(job, config, layouts, options);
    return ok_status();
  }
  const ScalingReport report = measure_scaling(job, config, layouts, options);
  return job.rank() == 0 ? report_scaling(report, flags) : ok_status();
}

}  // namespace

void add_bench_scaling(CLI::App& bench, Run& run) {
  CLI::App& command = *bench.add_subcommand(
      "scaling", "Measure a model over several layouts of the ranks at hand; start it by mpirun or srun");
  auto flags = std::make_shared<ScalingFlags>();
  ScalingOptions& options = flags->options;
  const CLI::Range is_count(int64_t{1}, int64_t{1} << 24);
  command
      .add_option(
          "--layouts", flags->layouts,
          "Tensor and pipeline sizes, like tp1,tp4,tp2pp2, each of the first ranks of the job; the first is what "
          "the others are compared with. The configuration's own sizes do not count")
      ->delimiter(',')
      ->required()
      ->option_text("NAMES");
  command.add_option("--batch", options.batches, "Sequences that run together; several numbers are measured in turn")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 12))
      ->capture_default_str()
      ->option_text("N,...");
  command.add_option("--input-len", options.input_length, "Tokens of a prompt")
      ->check(is_count)
      ->capture_default_str()
      ->option_text("N");
  command.add_option("--output-len", options.output_length, "Tokens of an output, after all prompts are computed")
      ->check(CLI::Range(int64_t{4}, int64_t{1} << 24))
      ->capture_default_str()
      ->option_text("N");
  command.add_flag("--weak", options.has_weak, "Weak scaling, too: each batch times the ranks of a layout");
  command.add_option("--json", flags->json_file, "Write the report as JSON; - for standard output, instead of tables")
      ->option_text("FILE");
  command.add_option("--svg", flags->svg_file, "Draw speed-ups and decode steps")->option_text("FILE");
  command.add_flag("--quiet", options.quiet, "No progress on standard error");
  auto config = std::make_shared<ConfigFlags>(command);
  command.callback([flags, config, &run] {
    run = [flags, config] {
      return run_model_job(*config, "bench scaling", [&](Job& job, const Config& loaded) {
        return bench_scaling(job, loaded, *flags, config->dry_run());
      });
    };
  });
}

}  // namespace cohort
