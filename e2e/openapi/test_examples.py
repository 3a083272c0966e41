"""Every example of the published document is a value of its schema."""
import json
import pathlib
import urllib.parse

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

COMMITTED = pathlib.Path(__file__).resolve().parents[2] / "openapi.json"
DOCUMENT = json.loads(COMMITTED.read_text())
URI = "urn:keyreeve:openapi"
REGISTRY = Registry().with_resource(URI, Resource(DOCUMENT, DRAFT202012))


def resolved(value):
    """Follows a reference within the document."""
    if "$ref" not in value:
        return value
    found = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[urllib.parse.unquote(part).replace("~1", "/").replace("~0", "~")]
    return found


def bodies():
    """Every body of the document: where it is, its schema, and its examples."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            found = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for place, body in found.items():
                for content in body.get("content", {}).values():
                    examples = [resolved(one)["value"] for one in content.get("examples", {}).values()]
                    examples += [content["example"]] if "example" in content else []
                    yield f"{method.upper()} {path} {place}", content["schema"], examples


def strict(schema):
    """A body may not have a field that its schema does not describe: an example would advertise it."""
    if "$ref" in schema:
        return {**schema, "unevaluatedProperties": False}
    return schema


def errors(schema, example):
    """What is wrong with an example. References begin at the document."""
    absolute = json.loads(json.dumps(strict(schema)).replace('"#/', f'"{URI}#/'))
    validator = Draft202012Validator(absolute, registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(example)]


@pytest.mark.parametrize("place, schema, examples", [pytest.param(*body, id=body[0]) for body in bodies()])
def test_every_example_is_a_value_of_its_schema(place, schema, examples):
    if place == "GET /openapi.json 200":
        return  # the answer is the document itself
    assert examples, f"{place} has no example"
    for example in examples:
        assert errors(schema, example) == []


def test_every_shared_example_is_a_problem():
    shared = DOCUMENT["components"]["examples"]
    assert len(shared) > 40
    for name, example in shared.items():
        assert errors({"$ref": "#/components/schemas/ErrorBody"}, example["value"]) == [], name


@pytest.mark.parametrize("change", [{"status": "404"}, {"colour": "blue"}, {"title": None}])
def test_a_wrong_example_is_found(change):
    example = {**DOCUMENT["components"]["examples"]["NOT_FOUND"]["value"], **change}
    assert errors({"$ref": "#/components/schemas/ErrorBody"}, example)


def test_secrets_in_examples_are_zeros():
    secrets = [part.split('"')[0].split("&")[0] for part in COMMITTED.read_text().split("_kr1")[1:]]
    assert secrets and all(secret.startswith("0" * 43) for secret in secrets if len(secret) == 49)
