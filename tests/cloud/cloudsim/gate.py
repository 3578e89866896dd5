"""In front of moto: notes every call, and lets it fail in the way that a rule wants."""

import io
import json
import random
import socket
import time
import urllib.parse

from . import cbor, control
from .state import CALLS, LOCAL, LOCK, RULES, since_start


class Drop(ConnectionError):
    """werkzeug takes it for a client that went away, and closes the connection without a word."""


class Gate:
    def __init__(self, app):
        self.app = app

    def __call__(self, environment, start_response):
        path = environment.get("PATH_INFO", "")
        if path.startswith("/_sim/"):
            return control.answer(environment, start_response)
        call = Call(environment, path)
        rule = _note(call)
        if rule:
            if rule.get("latency"):
                time.sleep(rule["latency"])
            if rule["mode"] == "hang":
                time.sleep(rule.get("seconds", 3600))
                _drop(environment)
            if rule["mode"] == "drop_before":
                _drop(environment)
            if rule["mode"] == "drop_after":
                # It happened, and the caller never hears of it.
                list(self.app(environment, lambda *_, **__: None))
                _drop(environment)
            if rule["mode"] in ("throttle", "error"):
                return _fail(call, rule, start_response)
        LOCAL.is_server_fault = False
        if call.is_cbor:
            service = path.split("/service/")[1].split("/")[0]
            return cbor.forward(
                self.app, environment, start_response, call.body, service, call.action
            )

        def start(status, headers, *more):
            is_fault = getattr(LOCAL, "is_server_fault", False)
            return start_response("500 X" if is_fault else status, headers, *more)

        return self.app(environment, start)


class Call:
    """One call of the API, whatever protocol it came in."""

    def __init__(self, environment, path):
        length = int(environment.get("CONTENT_LENGTH") or 0)
        self.body = environment["wsgi.input"].read(length) if length else b""
        environment["wsgi.input"] = io.BytesIO(self.body)
        self.text = self.body.decode("utf-8", "replace")
        scope = environment.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
        parts = scope.split(",")[0].split("/")
        self.service = parts[3] if len(parts) > 3 else ""
        self.target = environment.get("HTTP_X_AMZ_TARGET")
        self.is_cbor = "/operation/" in path
        if self.target:
            self.action = self.target.split(".")[-1]
        elif self.is_cbor:
            self.action = path.split("/operation/")[-1]
        else:
            form = urllib.parse.parse_qs(self.text)
            plain = environment["REQUEST_METHOD"] + " " + path
            self.action = form.get("Action", [plain])[0]


def _note(call):
    with LOCK:
        rule = next((rule for rule in RULES if _holds(rule, call)), None)
        CALLS.append([since_start(), call.service, call.action, rule and rule["mode"]])
        return rule


def _holds(rule, call):
    if rule.get("service") not in (None, call.service):
        return False
    if rule.get("action") not in (None, call.action):
        return False
    if rule.get("contains") and rule["contains"] not in call.text:
        return False
    if rule.get("skip", 0) > 0:
        rule["skip"] -= 1
        return False
    if rule.get("times") is not None and rule["times"] <= 0:
        return False
    if "rate" in rule:  # a bucket of tokens: only calls beyond it fail
        now = time.time()
        gained = (now - rule.get("_at", now)) * rule["rate"]
        rule["_level"] = min(rule["burst"], rule.get("_level", rule["burst"]) + gained)
        rule["_at"] = now
        if rule["_level"] >= 1:
            rule["_level"] -= 1
            return False
    elif random.random() >= rule.get("prob", 1.0):
        return False
    if rule.get("times") is not None:
        rule["times"] -= 1
    return True


def _drop(environment):
    try:
        environment["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    except (OSError, KeyError):
        pass
    raise Drop()


def _fail(call, rule, start_response):
    is_ec2 = call.service == "ec2"
    usual = "ThrottlingException" if call.target or call.is_cbor else "Throttling"
    code = rule.get("code") or ("RequestLimitExceeded" if is_ec2 else usual)
    message = rule.get("message", "injected")
    status = f"{rule.get('status', 503 if is_ec2 else 400)} X"
    if call.is_cbor:
        return cbor.respond(start_response, status, {"__type": code, "message": message})
    if call.target:
        body = json.dumps({"__type": code, "message": message})
        kind = "application/x-amz-json-1.0"
    elif is_ec2:
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"<Response><Errors>{error}</Errors><RequestID>sim</RequestID></Response>"
        kind = "text/xml"
    else:
        error = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
        body = f"<ErrorResponse><Error>{error}</Error><RequestId>sim</RequestId></ErrorResponse>"
        kind = "text/xml"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body.encode()]
