#!/bin/sh
# The bootstrap: makes a fresh machine reachable, and starts nothing. It runs as the cloud's startup command, or
# over SSH where that did not run; twice, at once and again after a restart does no harm. It never waits for
# anything in the foreground: where the host keys are not made yet, a process of its own looks for them.

set -u
umask 077
: "${HOME:=$(eval "echo ~$(id -un)")}"
home=$HOME/@FOLDER@/@ATTEMPT@
key='@PUBLIC_KEY@'

digest() {
    if command -v openssl >/dev/null; then
        openssl dgst -sha256 -r
    elif command -v sha256sum >/dev/null; then
        sha256sum
    else
        shasum -a 256
    fi
}

# hmac TEXT: HMAC-SHA256 in hex. The key is only ever given to printf, which is part of the shell.
hmac() {
    inner=$({ printf '@INNER@' && printf %s "$1"; } | digest)
    inner=${inner%% *}
    bytes=
    while [ -n "$inner" ]; do
        rest=${inner#??}
        bytes=$bytes\\$(printf %03o "0x${inner%"$rest"}")
        inner=$rest
    done
    # shellcheck disable=SC2059
    outer=$({ printf '@OUTER@' && printf "$bytes"; } | digest)
    echo "${outer%% *}"
}

# attest: write a line for each host key; fail while there is none.
attest() {
    new=$home/attest.$$
    : >"$new" || return
    for file in "${RN_HOST_KEYS:-/etc/ssh}"/ssh_host_*_key.pub; do
        [ -r "$file" ] || continue
        read -r type blob _ <"$file" || [ -n "${blob:-}" ] || continue
        echo "$type $(hmac "@ATTEMPT@ $type $blob")" >>"$new"
    done
    if [ -s "$new" ]; then
        mv -f "$new" "$home/attest"
    else
        rm -f "$new"
        return 1
    fi
}

attest_later() {
    tries=0
    until attest || [ $tries -ge 120 ]; do
        tries=$((tries + 1))
        sleep 1
    done
}

authorize() {
    mkdir -p "$HOME/.ssh" || return
    keys=$HOME/.ssh/authorized_keys
    ! grep -qF "$key" "$keys" 2>/dev/null || return 0
    # Two at once must not add two lines. A lock that somebody left behind is waited for in vain, then ignored.
    tries=0
    until mkdir "$home/authorizing" 2>/dev/null || [ $tries -ge 50 ]; do
        tries=$((tries + 1))
        sleep 0.02
    done
    if ! grep -qF "$key" "$keys" 2>/dev/null; then
        # A last line without an end must not swallow ours.
        [ -z "$(tail -c 1 "$keys" 2>/dev/null)" ] || echo >>"$keys"
        printf '%s\n' "$key" >>"$keys"
    fi
    rmdir "$home/authorizing"
}

mkdir -p "$home" && [ -w "$home" ] || exit 1
exec 2>>"$home/bootstrap.log"
authorize
cat >"$home/supervisor.$$" <<'@END@' && mv -f "$home/supervisor.$$" "$home/supervisor.sh"
@SUPERVISOR@
@END@
unpacked=$?
if ! attest; then
    (
        trap '' HUP
        attest_later
    ) </dev/null >/dev/null &
fi
exit $unpacked
