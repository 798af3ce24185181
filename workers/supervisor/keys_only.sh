#!/bin/sh
# Lets the machine's SSH server take keys only, before anything private goes to the machine. It runs as the login
# user, who may use sudo without a password, and may run any number of times. It does not judge: whether it had an
# effect is asked of the server itself.

set -u
root='sudo -n'
command -v sudo >/dev/null || root=
# shellcheck disable=SC2086
exec $root sh -s <<'@END@'
set -u
umask 022
ssh=${RN_SSHD:-/etc/ssh}
main=$ssh/sshd_config
settings='# Written by gpu-job-runner: logins by key only.
PasswordAuthentication no
KbdInteractiveAuthentication no
ChallengeResponseAuthentication no'

# sshd takes the first value that it reads. So the file beside serves only where it is included before any other
# word on the matter, as Ubuntu does it; its name sorts before what the image or cloud-init has put there.
first=$(grep -iE '^[[:space:]]*(include|match|passwordauthentication|kbdinteractiveauthentication|challengeresponseauthentication)[[:space:]]' "$main" | head -n 1)
case $first in
*[Ii][Nn][Cc][Ll][Uu][Dd][Ee]*sshd_config.d/*)
    mkdir -p "$ssh/sshd_config.d" || exit 1
    new=$ssh/sshd_config.d/.00-gpu-job-runner.new
    printf '%s\n' "$settings" >"$new" && mv -f "$new" "$ssh/sshd_config.d/00-gpu-job-runner.conf" || exit 1
    ;;
*)
    if ! grep -q '^# Written by gpu-job-runner' "$main"; then
        new=$main.gpu-job-runner
        # A copy first, for its owner and mode.
        cp -p "$main" "$new" && { printf '%s\n' "$settings" && cat "$main"; } >"$new" && mv -f "$new" "$main" || exit 1
    fi
    ;;
esac

# The connections that there are go on.
systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || service ssh reload 2>/dev/null ||
    service sshd reload 2>/dev/null || kill -HUP "$(cat /run/sshd.pid)"
@END@
