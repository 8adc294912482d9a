// config.json and generation_config.json: what is read, and what is said of mistakes.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "runtime/engine/load_model.h"
#include "runtime/json/json.h"
#include "runtime/models/shard_size.h"
#include "tests/files.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

nlohmann::json llama_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 100},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5},
          {"torch_dtype", "bfloat16"},
          {"eos_token_id", 2}};
}

class ModelConfigTest : public testing::Test {
 protected:
  Result<ModelConfig> read(const nlohmann::json& config) {
    test::write_file(dir_ / "config.json", config.dump());
    return read_model_config(dir_.path());
  }
  // The message for a llama config with one change, without the directory's name.
  std::string error(std::string_view key, const nlohmann::json& value) {
    nlohmann::json config = llama_config();
    config[std::string(key)] = value;
    const auto model = read(config);
    if (model.ok()) return "accepted";
    const std::string& message = model.status().message();
    return message.substr(message.find("config.json"));
  }

  const test::TemporaryDirectory dir_;
};

TEST_F(ModelConfigTest, ReadsLlama) {
  const auto model = read(llama_config());
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ModelSpec& spec = model->spec;
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.head_dim, 8);
  EXPECT_EQ(spec.num_kv_heads, 2);
  EXPECT_EQ(spec.checkpoint_dtype, DType::kBF16);
  EXPECT_EQ(spec.rotary.theta, 10000);
  EXPECT_EQ(model->generation.eos_ids, std::vector<int32_t>{2});
  // Layers, k and v, heads, head_dim, bytes.
  EXPECT_EQ(shard_kv_bytes_per_token(spec, whole_model(spec), DType::kBF16), 2 * 2 * 2 * 8 * 2);
}

TEST_F(ModelConfigTest, BothFormsOfRopeScalingAreOne) {
  nlohmann::json old_form = llama_config();
  old_form["rope_theta"] = 5e5;
  old_form["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  nlohmann::json new_form = llama_config();
  new_form["rope_parameters"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}, {"rope_theta", 5e5}};
  for (const auto& config : {old_form, new_form}) {
    const auto model = read(config);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(model->spec.rotary.theta, 5e5);
    EXPECT_EQ(model->spec.rotary.scaling.kind, RopeScalingKind::kYarn);
    EXPECT_EQ(model->spec.rotary.scaling.original_max_position, 32);
    EXPECT_EQ(model->spec.max_position, 128);
  }
  nlohmann::json dynamic = llama_config();
  dynamic["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(read(dynamic)->spec.max_position, 256);
}

TEST_F(ModelConfigTest, LongRopeInBothForms) {
  const std::vector<double> short_factor = {1, 1.25, 1.5, 2};
  const std::vector<double> long_factor = {1, 2, 4, 8};
  nlohmann::json old_form = llama_config();
  old_form["original_max_position_embeddings"] = 32;
  old_form["rope_scaling"] = {{"type", "su"}, {"short_factor", short_factor}, {"long_factor", long_factor}};
  nlohmann::json new_form = llama_config();
  new_form["rope_parameters"] = {{"rope_type", "longrope"},
                                 {"original_max_position_embeddings", 32},
                                 {"factor", 4.0},
                                 {"short_factor", short_factor},
                                 {"long_factor", long_factor}};
  for (const auto& config : {old_form, new_form}) {
    const auto model = read(config);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const RopeScaling& scaling = model->spec.rotary.scaling;
    EXPECT_EQ(scaling.kind, RopeScalingKind::kLongRope);
    EXPECT_EQ(scaling.original_max_position, 32);
    EXPECT_EQ(scaling.factor, 4);
    EXPECT_EQ(scaling.short_factor, short_factor);
    EXPECT_EQ(scaling.long_factor, long_factor);
    EXPECT_EQ(model->spec.max_position, 128);
  }
  old_form["rope_scaling"]["long_factor"] = "8";
  EXPECT_NE(read(old_form).status().message().find("long_factor: expected a list of numbers"), std::string::npos);
}

TEST_F(ModelConfigTest, ReadsMixtral) {
  nlohmann::json config = llama_config();
  config["architectures"] = {"MixtralForCausalLM"};
  config["model_type"] = "mixtral";
  config["num_local_experts"] = 8;
  config["num_experts_per_tok"] = 2;
  const auto model = read(config);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->spec.num_experts, 8);
  EXPECT_EQ(model->spec.experts_per_token, 2);
  EXPECT_TRUE(model->spec.norm_topk);
  const WeightMap map = model->family->weight_map(model->spec);
  EXPECT_EQ(map.layers[1].router->weights[0].name, "layers.1.block_sparse_moe.gate.weight");
  ASSERT_EQ(map.layers[1].experts.size(), 8u);
  EXPECT_EQ(map.layers[1].experts[7].up.weights[1].name, "layers.1.block_sparse_moe.experts.7.w3.weight");
  // Embeddings and the head; a layer's norms, attention, router and experts.
  const int64_t attention = 64 * (64 + 2 * 16 + 64);
  const int64_t layer = 2 * 64 + attention + 8 * 64 + 8 * 3 * 64 * 96;
  EXPECT_EQ(num_shard_elements(model->spec, map, whole_model(model->spec)), 2 * 100 * 64 + 64 + 2 * layer);
  config["num_experts_per_tok"] = 9;
  EXPECT_NE(read(config).status().message().find("num_experts_per_tok: expected at most the 8 experts"),
            std::string::npos);
}

TEST_F(ModelConfigTest, TablesThatAreReadByRow) {
  // As OPT-350M: its embeddings are half as wide as its hidden states, and the logits use the same table.
  const nlohmann::json config = {{"architectures", {"OPTForCausalLM"}},
                                 {"model_type", "opt"},
                                 {"vocab_size", 100},
                                 {"hidden_size", 64},
                                 {"word_embed_proj_dim", 32},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 8},
                                 {"ffn_dim", 96},
                                 {"max_position_embeddings", 128},
                                 {"do_layer_norm_before", false}};
  const auto opt = read(config);
  ASSERT_TRUE(opt.ok()) << opt.status().message();
  const ModelSpec& spec = opt->spec;
  EXPECT_EQ(num_table_elements(spec, whole_model(spec)), 100 * 32 + 128 * 64);
  const auto last_stage = shard_model(spec, ParallelLayout({.pipeline = 2}, 1));
  ASSERT_TRUE(last_stage.ok()) << last_stage.status().message();
  EXPECT_EQ(num_table_elements(spec, *last_stage), 0);

  const auto llama = read(llama_config());
  ASSERT_TRUE(llama.ok()) << llama.status().message();
  EXPECT_EQ(num_table_elements(llama->spec, whole_model(llama->spec)), 100 * 64);
}

TEST_F(ModelConfigTest, GenerationConfigComesFirst) {
  test::write_file(dir_ / "generation_config.json",
                   R"({"eos_token_id": [7, 9], "do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 40})");
  const auto model = read(llama_config());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->generation.eos_ids, (std::vector<int32_t>{7, 9}));
  EXPECT_TRUE(model->generation.do_sample);
  EXPECT_FLOAT_EQ(model->generation.temperature, 0.6f);
  EXPECT_EQ(model->generation.top_k, 40);
}

TEST_F(ModelConfigTest, MistakesNameTheKey) {
  EXPECT_EQ(error("hidden_size", nullptr), "config.json: hidden_size: missing, expected a positive integer");
  EXPECT_EQ(error("hidden_size", "64"), "config.json: hidden_size: expected a positive integer below 2^31, got \"64\"");
  EXPECT_EQ(error("vocab_size", -5), "config.json: vocab_size: expected a positive integer below 2^31, got -5");
  EXPECT_EQ(error("vocab_size", 1e300), "config.json: vocab_size: expected a positive integer below 2^31, got 1e+300");
  EXPECT_EQ(error("num_key_value_heads", 3),
            "config.json: num_key_value_heads: expected a divisor of the 8 attention heads, got 3");
  EXPECT_EQ(error("hidden_act", "mish"), "config.json: hidden_act: \"mish\" is not known");
  EXPECT_EQ(error("torch_dtype", "float8"),
            "config.json: torch_dtype: expected float32, float16 or bfloat16, got \"float8\"");
  const std::string unknown = error("architectures", {"MambaForCausalLM"});
  EXPECT_EQ(unknown.rfind("config.json: architectures: \"MambaForCausalLM\" is not known; known: ", 0), 0u) << unknown;
  EXPECT_NE(unknown.find(", LlamaForCausalLM, "), std::string::npos) << unknown;
  EXPECT_EQ(error("architectures", "x"), "config.json: architectures: expected a list with one name");
  EXPECT_EQ(error("rope_scaling", {{"type", "ntk"}, {"factor", 2}}),
            "config.json: rope_scaling: rope type \"ntk\" is not known; known: default, linear, dynamic, yarn, llama3, "
            "longrope");
  EXPECT_EQ(error("rope_scaling", {{"type", "linear"}}),
            "config.json: rope_scaling: factor: missing, expected a number of at least 1");
  EXPECT_EQ(error("eos_token_id", "two"),
            "config.json: eos_token_id: expected a token id or a list of them, got \"two\"");
  EXPECT_EQ(error("attention_bias", 1), "config.json: attention_bias: expected true or false, got 1");
}

TEST_F(ModelConfigTest, SizesThatNoModelHas) {
  constexpr int64_t kLarge = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(error("hidden_size", kLarge + 1),
            "config.json: hidden_size: expected a positive integer below 2^31, got 2147483648");
  EXPECT_EQ(error("num_hidden_layers", kLarge), "config.json: layers: expected at most 16384, got 2147483647");
  EXPECT_EQ(error("head_dim", kLarge), "config.json: head_dim: expected at most 65536, got 2147483647");
  EXPECT_EQ(error("rope_scaling", {{"type", "linear"}, {"factor", 1e300}}),
            "config.json: rope_scaling: factor: the longest sequence has more positions than 32 bits can tell apart");
  nlohmann::json config = llama_config();
  config["num_hidden_layers"] = kLarge;
  config["architectures"] = {"MistralForCausalLM"};
  config["sliding_window"] = 4096;
  EXPECT_FALSE(read(config).ok());
  config = llama_config();
  for (const char* key : {"hidden_size", "intermediate_size", "vocab_size"}) config[key] = kLarge / 8 * 8;
  config["head_dim"] = 128;
  const auto large = read(config);
  ASSERT_FALSE(large.ok());
  EXPECT_NE(large.status().message().find("sizes: a model of more parameters"), std::string::npos)
      << large.status().message();
}

TEST_F(ModelConfigTest, NumbersThatAreNoIntegers) {
  const nlohmann::json t5 = {{"architectures", {"T5ForConditionalGeneration"}},
                             {"vocab_size", 100},
                             {"d_model", 64},
                             {"d_kv", 8},
                             {"d_ff", 96},
                             {"num_layers", 2},
                             {"num_heads", 8}};
  ASSERT_TRUE(read(t5).ok()) << read(t5).status().message();
  nlohmann::json config = t5;
  config["decoder_start_token_id"] = 1e300;
  EXPECT_NE(read(config).status().message().find("decoder_start_token_id: expected a number of 32 bits, got 1e+300"),
            std::string::npos);
  test::write_file(dir_ / "generation_config.json", R"({"top_k": 1e300})");
  EXPECT_NE(read(t5).status().message().find("top_k: expected a number of 32 bits, got 1e+300"), std::string::npos);
}

TEST_F(ModelConfigTest, PoolingStaysInTheModelsDirectory) {
  nlohmann::json config = llama_config();
  config["architectures"] = {"BertModel"};
  for (const char* folder : {"../1_Pooling", "/tmp", "a/../../b"}) {
    const nlohmann::json modules = {{{"type", "sentence_transformers.models.Pooling"}, {"path", folder}}};
    test::write_file(dir_ / "modules.json", modules.dump());
    const std::string message = read(config).status().message();
    EXPECT_NE(message.find("path: expected a folder beside it, got"), std::string::npos) << message;
  }
}

TEST_F(ModelConfigTest, NotAModelDirectory) {
  EXPECT_EQ(read_model_config(dir_ / "nowhere").status().code(), StatusCode::kNotFound);
  const auto no_config = read_model_config(dir_.path());
  ASSERT_FALSE(no_config.ok());
  EXPECT_NE(no_config.status().message().find("config.json"), std::string::npos);
}

TEST_F(ModelConfigTest, CheckpointThatContradictsItsConfig) {
  const fs::path golden = test::data_dir() / "golden/llama-gqa";
  fs::copy_file(golden / "model.safetensors", dir_ / "model.safetensors", fs::copy_options::overwrite_existing);
  const auto golden_config = read_json_file(golden / "config.json");
  ASSERT_TRUE(golden_config.ok());
  const auto load_error = [&](std::string_view key, const nlohmann::json& value) {
    nlohmann::json config = *golden_config;
    config[std::string(key)] = value;
    test::write_file(dir_ / "config.json", config.dump());
    Stream stream(kCpuDevice, 1);
    auto open = open_model(dir_.path(), {});
    if (!open.ok()) return open.status().message();
    const ModelShard whole = whole_model(open->config.spec);
    const auto model = load_model(*std::move(open), whole, nullptr, stream);
    return model.ok() ? std::string("accepted") : model.status().message();
  };
  const std::string shape = load_error("intermediate_size", 78);
  EXPECT_NE(shape.find("model.safetensors"), std::string::npos) << shape;
  EXPECT_NE(shape.find("model.layers.0.mlp.gate_proj.weight"), std::string::npos) << shape;
  EXPECT_NE(shape.find("[78, 48]"), std::string::npos) << shape;
  const std::string missing = load_error("num_hidden_layers", 3);
  EXPECT_NE(missing.find("missing tensors that config.json implies: model.layers.2.input_layernorm.weight [48]"),
            std::string::npos)
      << missing;
  const std::string unexpected = load_error("num_hidden_layers", 1);
  EXPECT_NE(unexpected.find("model.layers.1."), std::string::npos) << unexpected;
  const std::string untied = load_error("tie_word_embeddings", true);
  EXPECT_EQ(untied, "accepted");  // as Hugging Face: the table is used, the stored head is not
}

// max_model_len of a whole load of a golden checkpoint: what the longest sequence is then, or the error.
std::string longest_sequence_of(const std::string& name, int64_t max_model_len) {
  Stream stream(kCpuDevice, 1);
  auto open = open_model(test::data_dir() / name, {.dtype = {}, .max_model_len = max_model_len});
  if (!open.ok()) return open.status().message();
  const ModelShard whole = whole_model(open->config.spec);
  const auto model = load_model(*std::move(open), whole, nullptr, stream);
  return model.ok() ? std::to_string(model->decoder->spec().max_position) : model.status().message();
}

TEST(MaxModelLen, ShortensEveryModel) {
  for (const char* name : {"golden/llama-gqa", "golden/gpt2", "golden/opt", "golden/bloom", "golden_encoders/roberta",
                           "golden_encoder_decoders/t5"}) {
    EXPECT_EQ(longest_sequence_of(name, 40), "40") << name;
  }
}

TEST(MaxModelLen, LengthensWherePositionsHaveNoEnd) {
  EXPECT_EQ(longest_sequence_of("golden/bloom", 100'000), "100000");
  EXPECT_EQ(longest_sequence_of("golden/falcon-rw", 100'000), "100000");
  EXPECT_EQ(longest_sequence_of("golden_encoder_decoders/t5", 100'000), "100000");
  for (const char* name : {"golden/llama-gqa", "golden/gpt2", "golden_encoders/roberta"}) {
    const std::string longest = longest_sequence_of(name, 0);
    const std::string dir = (test::data_dir() / name).string();
    EXPECT_EQ(longest_sequence_of(name, 100'000),
              "model.max_model_len: expected at most " + longest + ", the longest sequence of " + dir + ", got 100000");
  }
}

}  // namespace
}  // namespace cohort
