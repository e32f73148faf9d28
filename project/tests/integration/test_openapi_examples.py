"""The examples in the HTTP contract: valid, complete, and accepted by the service."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from app.config import Settings
from app.main import create_application

CONTRACT = create_application(Settings()).openapi()


def resolved(schema: Any) -> Any:
    """A schema with the components of the contract, for its references."""
    return {**schema, "components": CONTRACT["components"]}


def examples_of(content: dict[str, Any]) -> Iterator[Any]:
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield example["value"]


def bodies() -> Iterator[tuple[str, Any, Any]]:
    """The name, the schema and the value of each example of a request or a response."""
    for path, operations in CONTRACT["paths"].items():
        for method, operation in operations.items():
            parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for part, body in parts.items():
                for media_type, content in body.get("content", {}).items():
                    for number, example in enumerate(examples_of(content)):
                        yield f"{method} {path} {part} {media_type} {number}", content["schema"], example


def components() -> Iterator[tuple[str, Any, Any]]:
    for name, schema in CONTRACT["components"]["schemas"].items():
        for number, example in enumerate(schema.get("examples", [])):
            yield f"{name} {number}", schema, example


CASES = [*bodies(), *components()]


def test_there_are_examples() -> None:
    assert len(CASES) > 50


@pytest.mark.parametrize(("schema", "example"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_example_is_valid_and_complete(schema: Any, example: Any) -> None:
    jsonschema.validate(example, resolved(schema), jsonschema.Draft202012Validator)
    if isinstance(example, dict):
        # Whatever a schema describes is in its example, so that readers and mock servers see all of it.
        name = schema.get("$ref", "").rpartition("/")[2]
        described = CONTRACT["components"]["schemas"][name] if name else schema
        assert set(described.get("required", [])) <= set(example)


@pytest.mark.all_models
async def test_request_examples_are_accepted(client: httpx.AsyncClient) -> None:
    for path, operations in CONTRACT["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in examples_of(content):
                url = path.replace("{model}", "iris_random_forest").replace("{id}", "1")
                answer = await client.request(method, url, json=example)
                # A row that does not exist, or a download that is not allowed, is no fault of the example.
                assert answer.status_code not in {422, 500}, (method, url, example, answer.text)
