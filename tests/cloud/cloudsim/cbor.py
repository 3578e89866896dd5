"""The protocol rpc-v2-cbor, turned into the JSON that moto speaks.

The Rust SDK for CloudWatch speaks nothing else, and moto answers it with a page of HTML.
"""

import datetime
import gzip
import io
import json

import cbor2

_NUMBERS = ("Average", "Maximum", "Minimum", "SampleCount", "Sum", "Threshold", "Values")
_HEADERS = [("smithy-protocol", "rpc-v2-cbor"), ("Content-Type", "application/cbor")]


def forward(app, environment, start_response, body, service, action):
    # The SDK compresses bodies over 10 KiB.
    if environment.get("HTTP_CONTENT_ENCODING") == "gzip":
        body = gzip.decompress(body)
    text = json.dumps(_plain(cbor2.loads(body)) if body else {}).encode()
    dropped = ("HTTP_CONTENT_ENCODING", "HTTP_SMITHY_PROTOCOL")
    inner = {key: value for key, value in environment.items() if key not in dropped}
    inner.update(
        PATH_INFO="/",
        RAW_URI="/",
        REQUEST_URI="/",
        CONTENT_TYPE="application/x-amz-json-1.0",
        CONTENT_LENGTH=str(len(text)),
        HTTP_X_AMZ_TARGET=f"{service}.{action}",
    )
    inner["wsgi.input"] = io.BytesIO(text)
    got = {}
    answer = b"".join(app(inner, lambda status, headers, *_: got.update(status=status)))
    try:
        return respond(start_response, got["status"], _typed(json.loads(answer or b"{}")))
    except ValueError:
        message = answer[:200].decode("utf-8", "replace")
        fault = {"__type": "InternalFailure", "message": message}
        return respond(start_response, "500 Internal Server Error", fault)


def respond(start_response, status, value):
    body = cbor2.dumps(value)
    start_response(status, _HEADERS + [("Content-Length", str(len(body)))])
    return [body]


def _plain(value):
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, cbor2.CBORTag):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _typed(value, name=""):
    """JSON has one kind of number; times and measurements are told by their names."""
    if isinstance(value, dict):
        return {key: _typed(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, name) for inner in value]
    if name.rstrip("s").endswith("Timestamp") and isinstance(value, (int, float)):
        return cbor2.CBORTag(1, float(value))
    if name in _NUMBERS and isinstance(value, int):
        return float(value)
    return value
