"""Spot requests: each spot instance has one, whose status says when it is taken back."""

import fnmatch
import time

import moto.ec2.responses.spot_instances as responses

from .instances import all_instances
from .state import LOCK

_ENDS = ("shutting-down", "terminated")


def _on_describe(self):
    wanted = self._filters_from_querystring().get("status-code", ["*"])
    with LOCK:
        spot = [i for i in all_instances(self.ec2_backend) if i.lifecycle == "spot"]
        requests = [_request(instance) for instance in spot]
    shown = [request for request in requests if _fits(request["Status"]["Code"], wanted)]
    return responses.ActionResult({"SpotInstanceRequests": shown})


def _fits(code, wanted):
    return any(fnmatch.fnmatchcase(code, pattern) for pattern in wanted)


def _request(instance):
    at = getattr(instance, "_taken_back_at", None)
    has_ended = instance._state.name in _ENDS
    if has_ended and at and time.time() >= at:
        code = "instance-terminated-no-capacity"
    elif has_ended:
        code = "instance-terminated-by-user"
    else:
        code = "marked-for-termination" if at else "fulfilled"
    return {
        "SpotInstanceRequestId": "sir-" + instance.id.removeprefix("i-")[:8],
        "InstanceId": instance.id,
        "State": "active" if code == "fulfilled" else "closed",
        "Status": {"Code": code, "Message": code},
        "Type": "one-time",
    }


responses.SpotInstances.describe_spot_instance_requests = _on_describe
