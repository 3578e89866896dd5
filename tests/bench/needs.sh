#!/usr/bin/env bash
# Makes sure that the programs named are there, by apt-get when run as root on Debian.
# Without names: all that the benchmark and the gates use. A program that cannot be had is a
# failure: a comparison without its peers compares nothing.
set -euo pipefail

PATH="$PATH:/usr/sbin:/sbin"

package_of() {
    case "$1" in
    chrt | taskset) echo util-linux ;;
    h2load) echo nghttp2-client ;;
    *) echo "$1" ;;
    esac
}

missing() {
    for program in "$@"; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

[ $# -gt 0 ] || set -- python3 taskset chrt haproxy nginx valgrind strace

wanted=$(missing "$@")
if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    packages=$(for program in $wanted; do package_of "$program"; done | sort -u)
    apt-get update -qq
    # RUNLEVEL=1 keeps Debian from starting the servers that it installs.
    # shellcheck disable=SC2086 # one word per package
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages
    wanted=$(missing "$@")
fi
if [ -n "$wanted" ]; then
    echo "needs.sh: not there: $(echo $wanted); install them, or run this as root on Debian" >&2
    exit 1
fi
python3 -c 'import tomllib' 2>/dev/null || {
    echo "needs.sh: python3 is too old; 3.11 or later is needed" >&2
    exit 1
}
