// The JSON Schema of a configuration file, made from config_keys(): what an editor checks and completes with.
//
// It says less than load_config(): relations between keys, duplicate keys and the bounds of a file are not in it.
#pragma once

#include <string>

namespace cohort {

// JSON Schema draft 2020-12, with a newline at its end. configs/config.schema.json holds it.
std::string config_json_schema();

}  // namespace cohort
