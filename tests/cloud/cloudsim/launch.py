"""RunInstances as EC2 does it: tokens, MinCount to MaxCount, capacity, limits."""

import hashlib
import json
import time

import moto.ec2.models.instances as models
import moto.ec2.responses.instances as responses
from moto.ec2.exceptions import EC2ClientError

from .instances import begin_boot
from .state import CAPACITY, CONFIG, LEDGER, LOCAL, LOCK, TOKENS, since_start

_Response = responses.InstanceResponse
_run_in_backend = models.InstanceBackend.run_instances
_run = _Response.run_instances
_get_param = _Response._get_param


def _on_run_in_backend(self, *arguments, **named):
    # Auto Scaling and spot requests come this way too.
    with LOCK:
        reservation = _run_in_backend(self, *arguments, **named)
        for instance in reservation.instances:
            instance._born = time.time()
            LEDGER[instance.id] = {
                "id": instance.id,
                "type": instance.instance_type,
                "az": instance.availability_zone,
                "ip": instance.private_ip,
                "token": named.get("client_token"),
                "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()},
                "t": since_start(),
                "states": [],
                "billed_s": 0.0,
                "run_start": None,
                "spot": instance.lifecycle == "spot",
            }
            begin_boot(instance)
        return reservation


def _on_run(self):
    with LOCK:
        least = int(self._get_param("MinCount") or 1)
        most = int(self._get_param("MaxCount") or 1)
        if least > most:
            raise EC2ClientError("InvalidParameterValue", "MinCount must not exceed MaxCount")
        key, parameters = _token_of(self)
        if key in TOKENS:
            if TOKENS[key][0] != parameters:
                raise EC2ClientError(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in "
                    "previous request(s).",
                )
            return responses.ActionResult(TOKENS[key][1])
        self._granted = _grant(self, least, most)
        result = _run(self)
        if key:
            TOKENS[key] = (parameters, getattr(result, "result", None) or result._result)
        return result


def _token_of(self):
    token = self._get_param("ClientToken")
    if not token:
        return None, None
    if len(token) > 64:
        raise EC2ClientError("InvalidParameterValue", "ClientToken too long")
    ignored = ("ClientToken", "Action", "Version")
    parameters = {k: v for k, v in sorted(self.data.items()) if k not in ignored}
    text = json.dumps(parameters, sort_keys=True, default=str)
    return (self.region, token), hashlib.sha256(text.encode()).hexdigest()


def _grant(self, least, most):
    """How many of MinCount to MaxCount there are."""
    subnet = self._get_param("SubnetId")
    zone = (
        self.ec2_backend.get_subnet(subnet).availability_zone
        if subnet
        else self._get_param("Placement.AvailabilityZone") or self.region + "a"
    )
    kind = self._get_param("InstanceType") or _type_of_template(self) or "m1.small"
    last = [record["states"][-1][1] for record in LEDGER.values() if record["states"]]
    live = sum(state in ("pending", "running") for state in last)
    if live + least > CONFIG["account_limit"]:
        text = "You have requested more vCPU capacity than your current vCPU limit allows"
        raise EC2ClientError("VcpuLimitExceeded", text)
    place = next((k for k in (f"{kind}/{zone}", "*") if k in CAPACITY), None)
    granted = min(CAPACITY.get(place, most), most, CONFIG["account_limit"] - live)
    if granted < least:
        # EC2 answers this with a status of 5xx, moto would with 400.
        LOCAL.is_server_fault = True
        raise EC2ClientError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you "
            f"requested ({zone}).",
        )
    if place:
        CAPACITY[place] -= granted
    return granted


def _type_of_template(self):
    template = self._get_param("LaunchTemplate", {})
    try:
        data = self.ec2_backend._get_template_from_args(template).data if template else {}
        return data.get("InstanceType")
    except Exception:  # the call itself says what is wrong with it
        return None


def _on_get_param(self, name, if_none=None):
    # moto launches MinCount instances.
    granted = getattr(self, "_granted", None)
    if name == "MinCount" and granted:
        return str(granted)
    value = _get_param(self, name, if_none)
    return min(int(value), CONFIG["page"]) if name == "MaxResults" and value else value


models.InstanceBackend.run_instances = _on_run_in_backend
_Response.run_instances = _on_run
_Response._get_param = _on_get_param
