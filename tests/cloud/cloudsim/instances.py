"""Instances: their states take time, and behind each that runs is a real process."""

import copy
import os
import random
import signal
import subprocess
import time

import moto.ec2.models.instances as models
import moto.ec2.responses._base_response as base_response
from moto.ec2.exceptions import EC2ClientError, OperationNotPermitted4
from moto.ec2.models import ec2_backends

from .state import CONFIG, LEDGER, LOCK, PROCESSES, later, scaled, since_start

# moto makes "pending" out of whatever state an answer to RunInstances has.
base_response.EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop(
    "RunInstances.Reservation.Instances.Instance.State", None
)

LEAST_BILLED_S = 60.0

all_instances = models.InstanceBackend.all_instances
_terminate = models.Instance.terminate
_terminate_all = models.InstanceBackend.terminate_instances


def find(instance_id):
    for account in ec2_backends.values():
        for backend in account.values():
            for instance in all_instances(backend):
                if instance.id == instance_id:
                    return instance
    return None


def begin_boot(instance):
    # Whoever acts later sees by the generation that something else happened meanwhile.
    instance._generation = getattr(instance, "_generation", 0) + 1
    set_state(instance, "pending", 0)
    delay = CONFIG["boot_delay"] + random.random() * CONFIG["boot_jitter"]
    later(delay, _boot, instance, instance._generation)


def set_state(instance, name, code):
    instance._state.name, instance._state.code = name, code
    record = LEDGER.get(instance.id)
    if record is None:
        return
    record["states"].append([since_start(), name])
    if name == "running":
        record["run_start"] = time.time()
    elif name != "pending" and record.get("run_start"):
        ran = (time.time() - record["run_start"]) / CONFIG["time_scale"]
        record["billed_s"] += max(LEAST_BILLED_S, ran)
        record["run_start"] = None


def send(instance_id, number):
    process = PROCESSES.get(instance_id)
    if process and process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass


def end_all():
    for instance_id in list(PROCESSES):
        send(instance_id, signal.SIGKILL)


def _spawn(instance):
    command = CONFIG["backend"]
    if not command:
        return
    known = {
        "id": instance.id,
        "ip": instance.private_ip,
        "type": instance.instance_type,
        "port": CONFIG["port"],
    }
    own = {
        "INSTANCE_ID": instance.id,
        "INSTANCE_TYPE": instance.instance_type,
        "PRIVATE_IP": instance.private_ip or "",
        "AZ": instance.availability_zone or "",
        "PORT": str(CONFIG["port"]),
    }
    PROCESSES[instance.id] = subprocess.Popen(
        [word.format(**known) for word in command],
        env=dict(os.environ, **own),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop_process(instance, number=signal.SIGTERM):
    send(instance.id, number)
    send(instance.id, signal.SIGCONT)


def _boot(instance, generation):
    with LOCK:
        if instance._generation != generation or instance._state.name != "pending":
            return
        if random.random() < CONFIG["boot_fail_prob"]:
            code = "Server.InternalError"
            instance.state_reason = models.StateReason(f"{code}: Internal error on launch", code)
            set_state(instance, "terminated", 48)
            return
        set_state(instance, "running", 16)
        instance._running_since = time.time()
        _spawn(instance)


def _not_now(instance, what):
    text = f"The instance '{instance.id}' is not in a state from which it can be {what}."
    raise EC2ClientError("IncorrectInstanceState", text)


def _on_start(self):
    with LOCK:
        before = copy.copy(self._state)
        if before.name not in ("running", "pending"):
            if before.name != "stopped":
                _not_now(self, "started")
            begin_boot(self)
        return before


def _on_stop(self):
    with LOCK:
        before = copy.copy(self._state)
        if before.name in ("stopped", "stopping"):
            return before
        if before.name not in ("running", "pending"):
            _not_now(self, "stopped")
        self._generation += 1
        generation = self._generation
        set_state(self, "stopping", 64)
        _stop_process(self)
        code = "Client.UserInitiatedShutdown"
        self.state_reason = models.StateReason(f"{code}: User initiated shutdown", code)

        def done():
            with LOCK:
                if self._generation == generation:
                    _stop_process(self, signal.SIGKILL)
                    set_state(self, "stopped", 80)

        later(CONFIG["stop_delay"], done)
        return before


def _on_terminate(self):
    with LOCK:
        before = copy.copy(self._state)
        if before.name in ("terminated", "shutting-down"):
            return before
        self._generation = getattr(self, "_generation", 0) + 1
        _stop_process(self)
        set_state(self, "shutting-down", 32)

        def done():
            with LOCK:
                _stop_process(self, signal.SIGKILL)
                try:
                    _terminate(self)
                except Exception:  # moto forgets some of what it wants to give back
                    pass
                set_state(self, "terminated", 48)

        later(CONFIG["term_delay"], done)
        return before


def _on_terminate_all(self, instance_ids):
    # EC2 ends none of a zone where one is protected; moto ends those that come before it.
    with LOCK:
        for instance in self.get_multi_instances_by_id(instance_ids):
            if instance.disable_api_termination is True:
                raise OperationNotPermitted4(instance.id)
        return _terminate_all(self, instance_ids)


def _status(self):
    if self._state.code != 16:
        return {"Status": "not-applicable"}
    if getattr(self, "_is_impaired", False):
        return {
            "Status": "impaired",
            "Details": [{"Name": "reachability", "Status": "failed"}],
        }
    passed = time.time() - getattr(self, "_running_since", 0) >= scaled(CONFIG["status_delay"])
    words = ("ok", "passed") if passed else ("initializing", "initializing")
    return {"Status": words[0], "Details": [{"Name": "reachability", "Status": words[1]}]}


models.Instance.start = _on_start
models.Instance.stop = _on_stop
models.Instance.terminate = _on_terminate
models.InstanceBackend.terminate_instances = _on_terminate_all
models.Instance.instance_status = property(_status)
models.Instance.system_status = property(_status)
