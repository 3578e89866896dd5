"""Starts the test cloud, says where it is, and ends with its standard input."""

import argparse
import http.server
import os
import signal
import sys
import threading

os.environ.setdefault("MOTO_ENABLE_AMI_VALIDATION", "true")
os.environ.setdefault("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")

import moto  # noqa: E402
from moto.core.config import default_user_config  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

from . import describe, imds, launch, spot  # noqa: E402, F401
from .gate import Gate  # noqa: E402
from .instances import end_all  # noqa: E402
from .state import CONFIG  # noqa: E402

MOTO = "5.2.5"


class Quiet(MotoRequestHandler):
    def log_request(self, *_):
        pass

    def log_error(self, *_):
        pass


def main():
    if moto.__version__ != MOTO:
        sys.exit(f"moto is {moto.__version__}, and the patches here are for {MOTO}")
    asked = arguments()
    CONFIG["backend"] = asked.backend or None
    default_user_config["lambda"] = {"use_docker": False}
    default_user_config["batch"] = {"use_docker": False}

    metadata = http.server.ThreadingHTTPServer(("127.0.0.1", asked.imds), imds.Handler)
    threading.Thread(target=metadata.serve_forever, daemon=True).start()
    app = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", asked.port, app, threaded=True, request_handler=Quiet)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.Thread(target=follow_stdin, daemon=True).start()
    print(f"ready api=127.0.0.1:{server.port} imds=127.0.0.1:{metadata.server_port}", flush=True)
    server.serve_forever()


def arguments():
    parser = argparse.ArgumentParser(prog="cloudsim", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 is a free one")
    parser.add_argument("--imds", type=int, default=0, help="of the metadata service")
    parser.add_argument(
        "--backend",
        nargs=argparse.REMAINDER,
        help="the command behind each instance, last; {ip} {port} {id} {type} are filled in",
    )
    return parser.parse_args()


def follow_stdin():
    # Whoever started us holds the other end: when that process is gone, so are we.
    while sys.stdin.buffer.read(4096):
        pass
    leave()


def leave(*_):
    end_all()
    os._exit(0)


if __name__ == "__main__":
    main()
