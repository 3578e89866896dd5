"""What all parts share. Whoever reads or changes it holds `LOCK`."""

import threading
import time

LOCK = threading.RLock()
LOCAL = threading.local()

CONFIG = {
    # Seconds, before `time_scale`.
    "boot_delay": 0.5,
    "boot_jitter": 0.0,
    "status_delay": 0.5,
    "stop_delay": 0.3,
    "term_delay": 0.3,
    "visible_lag": 0.0,
    "spot_notice_s": 120.0,
    "time_scale": 1.0,
    "boot_fail_prob": 0.0,
    "account_limit": 10_000,
    # Reservations of one page of DescribeInstances, whatever a caller wants.
    "page": 1_000,
    # Argument vector of the process behind an instance, and its port.
    "backend": None,
    "port": 80,
}
CAPACITY = {}  # "type/zone" or "*" -> how many more may start
RULES = []  # faults, the first that fits wins
CALLS = []  # [seconds, service, action, mode of the fault or None]
LEDGER = {}  # instance id -> everything that ever happened to it: the oracle
TOKENS = {}  # (region, client token) -> (hash of the parameters, result)
PROCESSES = {}  # instance id -> Popen

STARTED = time.time()


def since_start():
    return round(time.time() - STARTED, 3)


def scaled(seconds):
    return seconds * CONFIG["time_scale"]


def later(seconds, call, *arguments):
    timer = threading.Timer(scaled(seconds), call, arguments)
    timer.daemon = True
    timer.start()
