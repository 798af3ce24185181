#!/bin/sh
set -u
umask 077
: "${HOME:=$(eval "echo ~$(id -un)")}"
home=$HOME/.gpu-job-runner/abc12300000000000000000000
key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7ynhdoQ4UYKuC8mhmZkn2cJmGtn7PTbBGWlSrFNMfG'
digest() {
if command -v openssl >/dev/null; then
openssl dgst -sha256 -r
elif command -v sha256sum >/dev/null; then
sha256sum
else
shasum -a 256
fi
}
hmac() {
inner=$({ printf '\066\067\064\065\062\063\060\061\076\077\074\075\072\073\070\071\046\047\044\045\042\043\040\041\056\057\054\055\052\053\050\051\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066\066' && printf %s "$1"; } | digest)
inner=${inner%% *}
bytes=
while [ -n "$inner" ]; do
rest=${inner#??}
bytes=$bytes\\$(printf %03o "0x${inner%"$rest"}")
inner=$rest
done
outer=$({ printf '\134\135\136\137\130\131\132\133\124\125\126\127\120\121\122\123\114\115\116\117\110\111\112\113\104\105\106\107\100\101\102\103\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134\134' && printf "$bytes"; } | digest)
echo "${outer%% *}"
}
attest() {
new=$home/attest.$$
: >"$new" || return
for file in "${RN_HOST_KEYS:-/etc/ssh}"/ssh_host_*_key.pub; do
[ -r "$file" ] || continue
read -r type blob _ <"$file" || [ -n "${blob:-}" ] || continue
echo "$type $(hmac "abc12300000000000000000000 $type $blob")" >>"$new"
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
tries=0
until mkdir "$home/authorizing" 2>/dev/null || [ $tries -ge 50 ]; do
tries=$((tries + 1))
sleep 0.02
done
if ! grep -qF "$key" "$keys" 2>/dev/null; then
[ -z "$(tail -c 1 "$keys" 2>/dev/null)" ] || echo >>"$keys"
printf '%s\n' "$key" >>"$keys"
fi
rmdir "$home/authorizing"
}
mkdir -p "$home" && [ -w "$home" ] || exit 1
exec 2>>"$home/bootstrap.log"
authorize
cat >"$home/supervisor.$$" <<'end of supervisor' && mv -f "$home/supervisor.$$" "$home/supervisor.sh"
#!/bin/sh
set -u
mask=$(umask)
umask 077
case $0 in /*) self=$0 ;; *) self=$PWD/$0 ;; esac
home=${self%/*}
run=$home/run
tab=$(printf '\t')
blank=" $tab
"
IFS=$blank
boot_id() {
cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null || echo -
}
identity() {
if [ -r /proc/self/stat ]; then
facts=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
set -- "$1" ${facts##*) }
born=${21-}
else
set -- "$1" $(ps -o stat=,lstart= -p "$1" 2>/dev/null)
born=${3-}_${4-}_${5-}_${6-}_${7-}
fi
case ${2-} in '' | Z* | X*) return 1 ;; esac
echo "$1 $born $(boot_id)"
}
living() { [ -n "$1" ] && [ "$(identity "${1%% *}")" = "$1" ]; }
line() {
first=
[ ! -r "$run/$1" ] || read -r first <"$run/$1" || :
echo "$first"
}
word() {
first=$(line "$1")
echo "${first%% *}"
}
announce() { identity $$ >"$run/$1.new" && mv -f "$run/$1.new" "$run/$1"; }
can() { command -v "$1" >/dev/null 2>&1; }
session() {
if can setsid; then
exec setsid "$@"
elif can perl; then
exec perl -MPOSIX -e '$SIG{$_} = "DEFAULT" for qw(HUP INT QUIT PIPE TERM);
POSIX::setsid() and exec {$ARGV[0]} @ARGV or exit 127' "$@"
fi
exec python3 -c 'import os, signal, sys
[signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL) for name in "HUP INT QUIT PIPE TERM".split()]
os.setsid() or os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}
detach() {
if setsid -f true 2>/dev/null; then
setsid -f "$@"
else
exec 5<&0
(session "$@") <&5 5<&- &
exec 5<&-
fi
}
flush() { sync "$@" 2>/dev/null || sync; }
unbase64() { if [ "$(printf QQ== | base64 -d 2>/dev/null)" = A ]; then base64 -d; else base64 -D; fi; }
digest() { if can openssl; then openssl dgst -sha256 -r; elif can sha256sum; then sha256sum; else shasum -a 256; fi; }
note() { echo "$2" 1<>"$run/$1"; }
state() {
if [ -e "$run/exit" ]; then
read -r record <"$run/exit"
echo "exited $record"
return
fi
if [ ! -L "$home/accepted" ]; then
echo none
return
fi
command=$(line command.id)
running=starting
[ -z "$command" ] || running="running ${command%% *}"
if living "$(line supervisor)"; then
echo "$running"
elif [ -e "$run/exit" ]; then
state
elif living "$command" || living "$(line keeper)" || living "$(line ender)"; then
if [ -n "$command" ]; then echo "$running unattended"; else echo starting; fi
elif [ -z "${failed-}" ] && [ ! -e "$run/supervisor" ] && living "$(readlink "$home/accepted")"; then
echo starting
elif [ -e "$run/exit" ]; then
state
else
echo lost
fi
}
attest() {
[ -e "$home/attest" ] || exit 3
cat "$home/attest"
}
go() {
payload=$(cat)
case $payload in
'gpu-job-runner go '[123]' '*'
end') ;;
*)
echo "refused $(state)"
echo "supervisor: the payload is incomplete or not of protocol 1 to 3" >&2
exit 1
;;
esac
if ! can setsid && ! can perl && ! can python3; then
echo "refused $(state)"
echo "supervisor: there is no setsid, perl or python3 here" >&2
exit 1
fi
if [ -L "$home/accepted" ] || ! ln -s "$(identity $$)" "$home/accepted" 2>/dev/null; then
echo "refused $(state)"
return
fi
flush "$home"
mkdir "$run"
answer=$(printf '%s\n' "$payload" | detach sh "$self" _supervise "$mask" 2>>"$run/errors")
[ "$answer" = accepted ] || failed=1 # we live, but start nothing any more
echo "${answer:-refused $(state)}"
}
supervise() {
cd "$run" || exit 1
payload=$(cat)
set -- "$1" $(printf '%s\n' "$payload" | sed -n 1p)
mask=$1 deadline=$5 cause=$6 grace=$7 limit=$8 kind=$9 idle=${10-0}
tail=$((limit / 2))
[ "$tail" -le 16777216 ] || tail=16777216
head=$((limit - tail))
if [ -d "$home/tree" ]; then mv "$home/tree" work; else mkdir work; fi || exit 1
mkfifo pipe alive held kept.pipe over.pipe && : >log && echo "$head" >limit || exit 1
for name in exit.new kept over sum front ender idle; do
printf '%200s\n' '' >"$name" || exit 1
done
printf '%s\n' "$payload" | sed -n 3p | unbase64 >script || exit 1
setup=$(printf '%s\n' "$payload" | sed -n 4p)
if [ "$setup" != end ]; then printf '%s\n' "$setup" | unbase64 >setup || exit 1; fi
exec 8<>held 9<>alive
announce supervisor && flush script exit.new "$run" || exit 1
[ "$(detach sh "$self" _keep "$deadline" "$cause" "$grace" "$idle" 8>&- 9>&- </dev/null)" = kept ] || exit 1
echo accepted
exec </dev/null >/dev/null
(
exec 8>&- 9>&- 4<pipe
logger "$head" "$tail"
) &
signals=
if env --default-signal true 2>/dev/null; then signals="env --default-signal"; fi
printf '%s\n' "$payload" | sed -n 2p | unbase64 |
(session $signals sh "$self" _launch "$kind" "$mask") >pipe 2>&1 8>&- 9>&-
finish $? exit_code
}
launch() {
announce command.id || exit 126
environment=$(cat)
exec </dev/null
umask "$2"
cd "$run/work" || exit 126
shell=$(command -v bash || command -v sh)
if [ "$1" = words ]; then
eval "$(cat "$run/script")"
else
set -- "$shell" "$run/script"
fi
limited=
! can timeout || limited="timeout -k 1 10"
$limited "$shell" -lc 'printf "%s\n" "$PATH" >"$1"' sh "$run/path" >/dev/null 2>&1
login=
[ ! -s "$run/path" ] || read -r login <"$run/path"
PATH=${login:-$PATH}
PYTHONUNBUFFERED=1
export PATH PYTHONUNBUFFERED
unset SSH_CLIENT SSH_CONNECTION SSH_TTY
setup=
[ ! -e "$run/setup" ] || setup=$run/setup
set -- "$setup" "$shell" "$run/verdict" "$@"
eval "$environment"
if [ -n "$1" ]; then
"$2" "$1" || {
set -- "$?" "$3"
ln -s setup_failed "$2" 2>/dev/null # unless a stop was first
exit "$1"
}
fi
shift 3
exec "$@"
}
logger() {
wc -c <kept.pipe 1<>kept &
front "$1" "$2" | tee log kept.pipe 4<&- | digest 1<>sum 4<&-
wait
ln -s . logged
}
front() {
left=$1
exec 3>&1
while [ "$left" -gt 0 ]; do
block=65536
[ "$left" -ge $block ] || block=4096
[ "$left" -ge $block ] || block=1
blocks=$((left / block))
counts=$(
LC_ALL=C dd bs=$block count=$blocks <&4 2>&1 >&3 3>&- 4<&- &
note front $!
wait $!
) || return
before='' reads='' bytes=''
for next in $counts; do
case $next in
records) reads=${reads:-$before} ;;
byte | bytes) bytes=$before ;;
esac
before=$next
done
[ "$((${reads%+*} + ${reads#*+}))" -eq $blocks ] || return
left=$((left - bytes))
done
wc -c <over.pipe 1<>over 3>&- 4<&- &
{
tee over.pipe <&4 3>&- 4<&- &
note front $!
wait $!
} | tail -c "$2" 4<&-
wait
}
clock() {
if [ -r /proc/uptime ]; then
read -r seconds </proc/uptime
seconds=${seconds%%.*}
else
seconds=$(date +%s)
fi
}
within() {
clock
last=$((seconds + $1))
quick=100
shift
until "$@"; do
clock
[ "$seconds" -le $last ] || return 1
if [ $quick -gt 0 ]; then
sleep 0.02
quick=$((quick - 1))
else
sleep 0.2
fi
done
}
logged() { [ -L "$run/logged" ]; }
group_gone() { ! kill -0 "-$group" 2>/dev/null; }
front_ended() {
logged || kill "$(word front)" 2>/dev/null
logged
}
finish() {
cd "$run" || exit 1
case $1 in - | 129 | 1[3-9]?) [ -L verdict ] || sleep 0.3 ;; esac
ln -s "$2" verdict 2>/dev/null # unless a stop was first
group=$(word command.id)
within 2 logged
if [ -n "$group" ] && kill -TERM "-$group" 2>/dev/null; then
kill -CONT "-$group" 2>/dev/null
within 1 group_gone || kill -KILL "-$group" 2>/dev/null
within 1 logged
fi
within 5 front_ended
size=$(($(wc -c <log)))
read -r head <limit
kept=$(word kept)
over=$(word over)
sum=$(word sum)
total=${kept:-$size}
[ -z "$over" ] || total=$((head + over))
if [ "${kept:-none}" != "$size" ] || [ "${#sum}" -ne 64 ]; then
sum=$(digest <log) # a full disk: the log is shorter than what came
sum=${sum%% *}
fi
gap=-
if [ "$total" -gt "$size" ]; then
gap=$head
[ "$size" -ge "$head" ] || gap=$size
fi
flush log
note exit.new "$1 $(readlink verdict) $size $sum $((total - size)) $gap"
flush exit.new
mv -f exit.new exit
flush "$run"
}
keep() {
cd "$run" || exit 1
exec 9<>alive 8<>held
exec 7<held 8>&-
announce keeper || exit 1
echo kept
exec >/dev/null
(
exec 7<&- 9>&-
sleep "$1"
exec sh "$self" _end "$2" "$3"
) &
if [ "$4" != 0 ]; then
sh "$self" _watch "$4" "$3" 7<&- 9>&- &
fi
cat <&7 >/dev/null
if [ ! -e exit ]; then
within 2 test -e command.id
command=$(line command.id)
while living "$command"; do sleep 0.5; done
finish - lost
fi
kill -KILL "-$$" # the clock and the watch, whose sleeps are our group's
}
watch() {
cd "$run" || exit 1
pause=1 quiet=0 before='' samples=
while [ $quiet -lt "$1" ]; do
sleep $pause
quiet=$((quiet + pause))
pause=$(((pause + 2) % 6)) # 1, 3, 5
[ $pause -le $(($1 / 5)) ] || pause=1
used=$(gpus) || used=-
samples=$(echo "$used $samples" | cut -c1-150)
note idle "$samples"
now=$(written)
if [ "$now" != "$before" ] || busy "$used"; then quiet=0; fi
before=$now
done
exec sh "$self" _end idle "$2"
}
written() {
reader=$(word front)
echo "$(wc -c <log) $reader $(sed -n 's/^rchar: //p' "/proc/${reader:-none}/io" 2>/dev/null)"
}
busy() {
IFS=,
for part in $1; do
case $part in
[0-4]) ;;
*) IFS=$blank && return 0 ;;
esac
done
IFS=$blank
return 1
}
gpus() {
can nvidia-smi || exit 3
limited=
if timeout --foreground 1 true 2>/dev/null; then
limited="timeout --foreground -k 1 20"
elif can timeout; then
limited="timeout -k 1 20"
fi
found=$($limited nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null) || exit 4
found=$(echo "$found" | tr -d ' \r' | tr '\n' ',')
found=${found%,}
case $found in '' | *[!0-9,]*) exit 4 ;; esac
echo "$found"
}
idle() { line idle; }
end() {
cd "$run" || exit 1
note ender "$(identity $$)" # where the others were killed, it is the one to write the record
within 20 test -e command.id
command=$(line command.id)
living "$command" || exit 0
group=${command%% *}
if ln -s "$1" verdict 2>/dev/null; then
kill -TERM "-$group" 2>/dev/null
kill -CONT "-$group" 2>/dev/null
fi
within "$2" dead "$command" || kill -KILL "-$group" 2>/dev/null
within 10 dead "$command"
if dead "$command" && dead "$(line supervisor)" && dead "$(line keeper)" && [ ! -e exit ]; then
finish - lost
fi
}
dead() { ! living "$1"; }
stop() {
case ${1-} in '' | *[!a-z_]*) usage ;; esac
case ${2-} in '' | *[!0-9]*) usage ;; esac
now=$(state)
case $now in starting | running*)
detach sh "$self" _end "$1" "$2" </dev/null >/dev/null 2>>"$run/errors"
now=stopping
;;
esac
echo "$now"
}
unfinished() {
case $(state) in starting | running*) ;; *) return 1 ;; esac
}
begun() { [ -e "$run/supervisor" ] || [ "$(state)" != starting ]; }
follow() {
case ${1-} in '' | *[!0-9]*) usage ;; esac
within 20 begun
if [ ! -e "$run/supervisor" ]; then
state >&2
exit 3
fi
cd "$run" || exit 1
if [ "$1" -gt "$(($(wc -c <log)))" ]; then
state >&2
exit 4
fi
exec 6<&0 </dev/null 8<>alive
exec 7<alive 8>&-
(
trap 'while kill "${!-}"; do sleep 0.05; done; exit' TERM
exec 6<&- >/dev/null 2>&1
cat <&7 &
wait $!
while unfinished; do
sleep 1 &
wait $!
done
) &
over=$!
exec 7<&-
watch=
if [ -p /dev/fd/6 ] || [ -S /dev/fd/6 ]; then
(
trap 'while [ $! != "$over" ] && kill $!; do sleep 0.05; done; exit' TERM
exec >/dev/null 2>&1
cat <&6 &
wait $!
kill "$over"
) &
watch=$!
fi
exec 6<&-
if tail --pid=$$ -s 1 -c +1 /dev/null 2>/dev/null; then
tail -c "+$(($1 + 1))" -s 0.1 --pid="$over" -f log 2>/dev/null
else
copy "$1"
fi
[ -z "$watch" ] || kill "$watch" 2>/dev/null
kill "$over" 2>/dev/null
state >&2
}
copy() {
at=$1
last=
while :; do
kill -0 "$over" 2>/dev/null || last=1
size=$(($(wc -c <log)))
if [ "$size" -gt "$at" ]; then
tail -c "+$((at + 1))" log | head -c $((size - at)) || return
at=$size
fi
[ -z "$last" ] || return 0
sleep 0.2
done
}
usage() {
echo "usage: supervisor.sh attest | go | state | follow OFFSET | stop CAUSE GRACE | gpus | idle" >&2
exit 2
}
verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
attest | go | state | follow | stop | gpus | idle) "$verb" "$@" ;;
_supervise | _launch | _keep | _watch | _end) "${verb#_}" "$@" ;;
*) usage ;;
esac
end of supervisor
unpacked=$?
if ! attest; then
(
trap '' HUP
attest_later
) </dev/null >/dev/null &
fi
exit $unpacked
