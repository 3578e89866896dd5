"""What the kernel says of processes, sockets and CPUs, from /proc. Nothing is started here."""

import glob
import os
import platform


def tree(root):
    """The process `root` and all its descendants, as pids."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        fields = stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(int(pid))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def stat(pid):
    """The fields of /proc/PID/stat after the name; none if the process has gone."""
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def cpu_time(pids):
    """(nanoseconds on a CPU, user ticks, system ticks) of processes with all their threads.

    The sum is exact; user and system are sampled by the kernel and good to some per cent only.
    """
    total = user = system = 0
    for pid in pids:
        fields = stat(pid)
        user += int(fields[11]) if fields else 0
        system += int(fields[12]) if fields else 0
        for task in tasks(pid):
            total += int(read(f"{task}/schedstat").split(" ")[0] or 0)
    return total, user, system


def switches(pids):
    """Context switches of processes with all their threads, wanted and unwanted."""
    lines = (line for pid in pids for task in tasks(pid) for line in lines_of(f"{task}/status"))
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def pss_kib(pids):
    """Proportional set size of processes, in KiB. Memory of the kernel is not in it."""
    lines = (line for pid in pids for line in lines_of(f"/proc/{pid}/smaps_rollup"))
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def tasks(pid):
    """The folders of the threads of a process."""
    return glob.glob(f"/proc/{pid}/task/*")


def lines_of(path):
    """The lines of a file of /proc."""
    return read(path).splitlines()


def read(path):
    """A file of /proc; empty if what it tells of has gone meanwhile."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def rss_kib(pid):
    """(resident now, most resident since `reset_peak`) of one process, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in file if line.startswith("Vm")}
    return int(sizes["VmRSS"]), int(sizes["VmHWM"])


def reset_peak(pid):
    """Forgets the peak that `rss_kib` reports."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def cpu_busy(cpu):
    """(busy ticks, all ticks) of one CPU, interrupts and kernel threads included."""
    with open("/proc/stat") as file:
        for line in file:
            if line.startswith(f"cpu{cpu} "):
                ticks = [int(word) for word in line.split()[1:9]]
                return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
    raise SystemExit(f"this machine has no cpu{cpu}; the benchmark needs two CPUs")


def queued_bytes(ports):
    """Bytes in the queues of all established IPv4 sockets with one of `ports` at either end.

    Receive queues count what the owner has not read, send queues what the other end has not
    acknowledged: on loopback a byte is in exactly one of them.
    """
    total = 0
    with open("/proc/net/tcp") as file:
        next(file)
        for line in file:
            fields = line.split()
            ends = {int(fields[side].split(":")[1], 16) for side in (1, 2)}
            if fields[3] == "01" and ends & set(ports):
                total += sum(int(queue, 16) for queue in fields[4].split(":"))
    return total


def listens(port):
    """Whether something listens on this port of 127.0.0.1 or of all addresses."""
    with open("/proc/net/tcp") as file:
        next(file)
        return any(
            fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port
            for fields in map(str.split, file)
        )


def description():
    """CPU and kernel in a few words."""
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}"
