"""DescribeInstances: what was launched just now is not seen yet; the filter `client-token`."""

import time

import moto.ec2.responses.instances as responses
from moto.ec2.exceptions import EC2ClientError

from .instances import all_instances
from .state import CONFIG, LOCK, scaled

_Response = responses.InstanceResponse
_describe = _Response.describe_instances
_filters = _Response._filters_from_querystring


def _is_visible(instance):
    return time.time() - getattr(instance, "_born", 0) >= scaled(CONFIG["visible_lag"])


def _on_describe(self):
    with LOCK:
        backend = self.ec2_backend
        asked = self._get_param("InstanceIds", [])
        for instance in all_instances(backend):
            if instance.id in asked and not _is_visible(instance):
                text = f"The instance ID '{instance.id}' does not exist"
                raise EC2ClientError("InvalidInstanceID.NotFound", text)
        tokens = self._filters_from_querystring().get("client-token")
        whole = backend.reservations

        def is_shown(reservation):
            own = reservation.instances
            has_token = not tokens or any(i.client_token in tokens for i in own)
            return has_token and all(_is_visible(i) for i in own)

        self._without_token_filter = True
        backend.reservations = type(whole)((k, r) for k, r in whole.items() if is_shown(r))
        try:
            return _describe(self)
        finally:
            backend.reservations = whole


def _on_filters(self):
    filters = _filters(self)
    if getattr(self, "_without_token_filter", False):
        filters.pop("client-token", None)
    return filters


_Response.describe_instances = _on_describe
_Response._filters_from_querystring = _on_filters
