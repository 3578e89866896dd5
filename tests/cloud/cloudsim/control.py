"""The controls under `/_sim/`, for tests: each takes and gives JSON."""

import json
import signal
import time

from moto.cloudwatch.models import cloudwatch_backends
from moto.sns.models import sns_backends

from .instances import end_all, find, send
from .state import (
    CALLS,
    CAPACITY,
    CONFIG,
    LEDGER,
    LOCK,
    PROCESSES,
    RULES,
    TOKENS,
    later,
    scaled,
)


def answer(environment, start_response):
    name = environment["PATH_INFO"].removeprefix("/_sim/")
    length = int(environment.get("CONTENT_LENGTH") or 0)
    given = json.loads(environment["wsgi.input"].read(length)) if length else None
    command = COMMANDS.get(name)
    if not command:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    with LOCK:
        body = json.dumps(command(given), default=str).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


def _config(given):
    CONFIG.update(given or {})
    return CONFIG


def _faults(given):
    if given is not None:
        RULES[:] = given
    return [{k: v for k, v in rule.items() if not k.startswith("_")} for rule in RULES]


def _capacity(given):
    CAPACITY.clear()
    CAPACITY.update(given or {})
    return CAPACITY


def _impair(given):
    find(given["id"])._is_impaired = True


def _spot_interrupt(given):
    instance = find(given["id"])
    instance._taken_back_at = time.time() + scaled(CONFIG["spot_notice_s"])
    later(CONFIG["spot_notice_s"], instance.terminate)


def _published(_):
    """Every message that any topic took, oldest first."""
    found = []
    for account in sns_backends.values():
        for backend in account.values():
            for topic in backend.topics.values():
                for message_id, text, subject, attributes, *_rest in topic.sent_notifications:
                    found.append(
                        {
                            "topic": topic.arn,
                            "id": message_id,
                            "message": text,
                            "subject": subject,
                            "attributes": attributes or {},
                        }
                    )
    return found


def _metrics(_):
    """Every value that CloudWatch was given."""
    return [
        {
            "namespace": datum.namespace,
            "name": datum.name,
            "value": datum.value,
            "unit": datum.unit,
            "dimensions": {d.name: d.value for d in datum.dimensions},
            "timestamp": datum.timestamp.timestamp(),
        }
        for account in cloudwatch_backends.values()
        for backend in account.values()
        for datum in backend.metric_data
    ]


def _reset(_):
    end_all()
    for kept in (CAPACITY, LEDGER, TOKENS, PROCESSES, RULES, CALLS):
        kept.clear()


COMMANDS = {
    "calls": lambda _: CALLS,
    "capacity": _capacity,
    "config": _config,
    "faults": _faults,
    "freeze": lambda given: send(given["id"], signal.SIGSTOP),
    "impair": _impair,
    # The operating system dies; EC2 goes on to say that it runs.
    "kill": lambda given: send(given["id"], signal.SIGKILL),
    "ledger": lambda _: list(LEDGER.values()),
    "metrics": _metrics,
    "published": _published,
    "reset": _reset,
    "spot-interrupt": _spot_interrupt,
    "thaw": lambda given: send(given["id"], signal.SIGCONT),
}
