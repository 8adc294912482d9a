"""configs/config.schema.json as another program reads it: a schema, which takes the examples and refuses mistakes."""

import json
import pathlib
import unittest

import jsonschema
import yaml

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SCHEMA = json.loads((CONFIGS / "config.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Schema(unittest.TestCase):
    def test_is_a_schema_of_its_draft(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_takes_every_example(self):
        files = sorted(CONFIGS.rglob("*.yaml"))
        self.assertGreaterEqual(len(files), 8)
        for file in files:
            errors = [f"{file}: {error.message}" for error in VALIDATOR.iter_errors(yaml.safe_load(file.read_text()))]
            self.assertEqual(errors, [])

    def test_takes_what_is_empty(self):
        for text in ("", "cache:", "cache: {}"):
            self.assertTrue(VALIDATOR.is_valid(yaml.safe_load(text)), text)

    def test_defaults_are_within_their_own_bounds(self):
        defaults = {
            section: {name: key["default"] for name, key in schema["properties"].items()}
            for section, schema in SCHEMA["properties"].items()
        }
        self.assertTrue(VALIDATOR.is_valid(defaults))

    def test_refuses_mistakes(self):
        for text in (
            "parallel: {tensor_paralel_size: 2}",
            "paralel: {}",
            "cache: 3",
            "cache: {block_size: '2'}",
            "cache: {block_size: 0}",
            "cache: {block_size: 1025}",
            "cache: {block_size: 2.5}",
            "cache: {block_size: }",
            "cache: {memory_fraction: 1}",
            "model: {dtype: int3}",
            "model: {path: 13}",
            "server: {host: ''}",
            "[cache]",
        ):
            self.assertFalse(VALIDATOR.is_valid(yaml.safe_load(text)), text)


if __name__ == "__main__":
    unittest.main()
