"""The schemas of the document: the JSON of requests and answers, and what they are made of."""

from collections.abc import Mapping
from typing import Any

Node = dict[str, Any]  # a part of a JSON document

TEXT: Node = {"type": "string"}
NUMBER: Node = {"type": "number"}
COUNT: Node = {"type": "integer", "minimum": 0}
FLAG: Node = {"type": "boolean"}
SHAPE: Node = {"type": "array", "items": {"type": "integer", "minimum": -1}}

OWN_PARAMETERS = (
    "A route's own parameters stand in the schema Parameters.<route> and in GET /v1/routes."
)


def ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Node) -> Node:
    return {"type": "array", "items": items}


def object_of(optional: Mapping[str, Node] | None = None, /, **required: Node) -> Node:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required)}


_SPEC = object_of(name=TEXT, datatype=TEXT, shape=SHAPE)
_REPLY: Node = {
    "route": TEXT,
    "version": TEXT,
    "digest": TEXT,
    "energy_source": TEXT,
    "certificate": TEXT,
}
_SIMILAR: Node = {
    "type": "string",
    "description": "Rows that got the answer of a similar picture, such as 0,2.",
}
_DATA: Node = {"type": "array"}
_DURATION = object_of(count=COUNT, ns=COUNT)
_COMPUTE: Node = {
    "compute_input": _DURATION,
    "compute_infer": _DURATION,
    "compute_output": _DURATION,
}
_PARAMETERS: Node = {"type": "object"}
_OPTIONAL_NUMBER: Node = {"type": ["number", "null"]}
_PRECISION: Node = {
    "enum": ["float32", "int8", None],
    "description": "Which file runs of a stage with two; null: it has one.",
}
_STOPPED_BY: Node = {"enum": ["confidence", "last_stage", "deadline", "energy", "cache"]}
_BEST = list_of(object_of({"label_name": TEXT}, label=COUNT, probability=NUMBER))
_ANSWER = object_of(
    {
        "label": {"type": "integer"},
        "label_name": TEXT,
        "labels": _BEST,
        "top": _BEST,
        "probabilities": list_of(NUMBER),
        "similar": {"const": True},
    },
    confidence=NUMBER,
    exit=TEXT,
    stopped_by=_STOPPED_BY,
    cached=FLAG,
    macs=COUNT,
    energy_mj=_OPTIONAL_NUMBER,
    latency_ms=NUMBER,
)

SCHEMAS: Mapping[str, Node] = {
    "Error": object_of({"explanation": ref("Explanation")}, error=TEXT),
    "Explanation": object_of(
        {"energy_source": TEXT, "answer": _ANSWER, "why": TEXT},
        route=TEXT,
        version=TEXT,
        digest=TEXT,
        pipeline=TEXT,
        certificate=TEXT,
        parameters={"type": "object"},
        cache=object_of(
            state={"enum": ["hit", "similar", "miss", "joined", "not used"]},
            tier={"enum": [None, 1, 2]},
            stored=FLAG,
        ),
        stages=list_of(
            object_of(
                stage=TEXT,
                precision=_PRECISION,
                result={"enum": ["answered", "continued", "failed"]},
                passed=FLAG,
                next={"type": ["string", "null"]},
                threshold=_OPTIONAL_NUMBER,
                confidence=_OPTIONAL_NUMBER,
                outputs={"type": "object"},
                queue_ms=NUMBER,
                device_ms=NUMBER,
                cpu_ms=NUMBER,
                batch_rows=COUNT,
                macs=COUNT,
                energy_mj=_OPTIONAL_NUMBER,
            )
        ),
        not_run=list_of(TEXT),
        runs_dropped=COUNT,
    ),
    "Readiness": object_of({"name": TEXT, "error": TEXT}, ready=FLAG),
    "Server": object_of(name=TEXT, version=TEXT, extensions=list_of(TEXT)),
    "Model": object_of(
        {"parameters": _PARAMETERS},
        name=TEXT,
        versions=list_of(TEXT),
        platform=TEXT,
        inputs=list_of(_SPEC),
        outputs=list_of(_SPEC),
    ),
    "IndexEntry": object_of(name=TEXT, version=TEXT, state=TEXT, reason=TEXT),
    "Statistics": object_of(
        model_stats=list_of(
            object_of(
                name=TEXT,
                version=TEXT,
                last_inference=COUNT,
                inference_count=COUNT,
                execution_count=COUNT,
                inference_stats=object_of(
                    success=_DURATION,
                    fail=_DURATION,
                    queue=_DURATION,
                    cache_hit=_DURATION,
                    cache_miss=_DURATION,
                    **_COMPUTE,
                ),
                batch_stats=list_of(object_of(batch_size=COUNT, **_COMPUTE)),
            )
        )
    ),
    "Route": object_of(
        {"labels": list_of(TEXT), "picture": {"type": ["object", "null"]}},
        route=TEXT,
        version=TEXT,
        task=TEXT,
        pipeline=TEXT,
        description=TEXT,
        digest=TEXT,
        certificate=TEXT,
        expected_macs=NUMBER,
        full_macs=COUNT,
        draws=FLAG,
        chats=FLAG,
        stages=list_of(object_of(name=TEXT, file=TEXT, macs=COUNT, precision=_PRECISION)),
        inputs=list_of(_SPEC),
        outputs=list_of(_SPEC),
        explanations=list_of(_SPEC),
        parameters={"type": "object"},
        cache=object_of(enabled=FLAG, ttl_s=NUMBER, perceptual={"type": ["object", "null"]}),
        rollout={"type": ["object", "null"]},
        profile={"type": "object"},
    ),
    "InferRequest": object_of(
        {
            "id": TEXT,
            "parameters": {
                "type": "object",
                "description": OWN_PARAMETERS,
                "properties": {
                    "timeout_ms": {"type": ["number", "string"]},
                    "timeout": {"type": ["number", "string"], "description": "Microseconds."},
                    "energy_mj": {"type": ["number", "string"]},
                    "min_confidence": {"type": ["number", "string"]},
                    "no_cache": {"type": ["boolean", "string"]},
                    "partial": {"type": ["boolean", "string"]},
                    "binary_data_output": FLAG,
                },
            },
            "outputs": list_of(object_of({"parameters": _PARAMETERS}, name=TEXT)),
        },
        inputs=list_of(
            object_of(
                {"data": _DATA, "parameters": _PARAMETERS}, name=TEXT, datatype=TEXT, shape=SHAPE
            )
        ),
    ),
    "InferResponse": object_of(
        {"id": TEXT},
        model_name=TEXT,
        model_version=TEXT,
        parameters=object_of({"similar": _SIMILAR}, **_REPLY),
        outputs=list_of(
            object_of(
                {"data": _DATA, "parameters": _PARAMETERS}, name=TEXT, datatype=TEXT, shape=SHAPE
            )
        ),
    ),
    "Prediction": object_of(
        {"similar": _SIMILAR},
        **_REPLY,
        answers=list_of(_ANSWER),
    ),
}
