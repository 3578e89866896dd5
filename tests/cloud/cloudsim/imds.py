"""The metadata service (IMDSv2). Who asks is told by the source address of the connection."""

import http.server
import json
import random
import time

from .instances import find
from .state import LEDGER, LOCK

TOKENS = {}  # token -> address it was given to
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
ROLE = "iam/security-credentials"
TIME = "%Y-%m-%dT%H:%M:%SZ"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_PUT(self):
        if self.path != "/latest/api/token" or not self.headers.get(TTL):
            return self._respond(400)
        token = f"token-{self.client_address[0]}-{random.getrandbits(40)}"
        TOKENS[token] = self.client_address[0]
        self._respond(200, token, {TTL: "21600"})

    def do_GET(self):
        if TOKENS.get(self.headers.get("x-aws-ec2-metadata-token")) != self.client_address[0]:
            return self._respond(401)
        with LOCK:
            value = self._value(self.path.removeprefix("/latest/meta-data/").rstrip("/"))
        self._respond(200 if value else 404, value or "")

    def _value(self, path):
        if path == ROLE:
            return "tidegate"
        if path == f"{ROLE}/tidegate":
            return json.dumps(_credentials())
        if path == "placement/region":
            return "eu-west-2"
        return self._of_instance(path)

    def _of_instance(self, path):
        own = (r for r in LEDGER.values() if r["ip"] == self.client_address[0])
        record = next((r for r in own if r["states"][-1][1] == "running"), None)
        instance = record and find(record["id"])
        if not instance:
            return None
        at = getattr(instance, "_taken_back_at", None)
        notice = at and {"action": "terminate", "time": time.strftime(TIME, time.gmtime(at))}
        known = {
            "instance-id": instance.id,
            "local-ipv4": instance.private_ip,
            "instance-type": instance.instance_type,
            "placement/availability-zone": instance.availability_zone,
            "ami-id": instance.image_id,
            "spot/instance-action": notice and json.dumps(notice),
        }
        known |= {f"tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
        return known.get(path)

    def _respond(self, status, text="", headers=None):
        body = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _credentials():
    in_an_hour = time.strftime(TIME, time.gmtime(time.time() + 3600))
    return {
        "Code": "Success",
        "LastUpdated": in_an_hour,
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIASIM",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": in_an_hour,
    }
