#!/bin/sh
# The supervisor: what keeps one command on a rented machine when nobody is connected any more.
#
# It stands in a folder of its attempt (HOME/.gpu-job-runner/ATTEMPT), which is all that it writes to, and is
# called over SSH as `sh supervisor.sh VERB ARGUMENTS`. POSIX sh and the usual small tools, nothing else.
#
#   attest            print the host-key attestations that the bootstrap left; status 3 if there are none
#   go                read the payload from standard input, start the command once: `accepted` or `refused STATE`
#   state             print one STATE line
#   follow OFFSET     copy the log from byte OFFSET as it grows; when all is over, a STATE line on standard error.
#                     Ends early when standard input is a pipe or a socket and reaches its end: the caller left.
#                     Status 3: there is no log; 4: the log is shorter than OFFSET
#   stop CAUSE GRACE  TERM now, KILL after GRACE seconds: `stopping`, or the STATE line where nothing runs
#   gpus              print how busy the GPUs are now, in percent: `0,97`. Status 3: there is no nvidia-smi;
#                     4: what it says makes no sense, or takes too long
#   idle              print the last of such samples that the watchdog took, the newest first
#
#   STATE: none | starting | running PID [unattended] | lost
#        | exited CODE CAUSE LOG_BYTES SHA256 DROPPED_BYTES GAP_OFFSET
#   CODE is `-` where only the end is known (cause `lost`, or that of a stop), GAP_OFFSET is `-` without a gap.
#
# Three processes serve a command, each in a session of its own, so that none takes another with it:
#   the supervisor, whose child the command is: it alone learns the exit code, and writes the exit record;
#   the keeper, who holds the deadline, watches for idle GPUs where that was asked for, and writes the record if
#   the supervisor was killed;
#   an ender, who lives for one stop.
# Files in run/: supervisor keeper command.id (who: PID START BOOT), log, exit (the record, by rename),
# idle (the watchdog's last samples), links (atomic, and possible on a full disk): verdict (the cause of the end), logged (the logger is through).
# Where the disk may be full, files were allocated before and are written in place (`1<>file`).

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

# --- processes ---------------------------------------------------------------------------------------------

boot_id() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null || echo -
}

# identity PID: print `PID START BOOT`, which no other process will ever have; fail for the dead and for zombies.
identity() {
    if [ -r /proc/self/stat ]; then
        facts=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
        # The name, in brackets, may hold anything; behind it state is word 1, the start time word 20.
        # shellcheck disable=SC2086
        set -- "$1" ${facts##*) }
        born=${21-}
    else
        # shellcheck disable=SC2046
        set -- "$1" $(ps -o stat=,lstart= -p "$1" 2>/dev/null)
        born=${3-}_${4-}_${5-}_${6-}_${7-}
    fi
    case ${2-} in '' | Z* | X*) return 1 ;; esac
    echo "$1 $born $(boot_id)"
}

# living WHO: is the process of that identity still alive?
living() { [ -n "$1" ] && [ "$(identity "${1%% *}")" = "$1" ]; }

# line FILE: print what was written there, or nothing. word FILE: the first word of it.
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

# session WORDS: become that program, as the leader of a new session and process group.
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

# detach WORDS: run that program in a session of its own, as nobody's child, with our standard streams.
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

# note FILE TEXT: write a line in place into an allocated file. (A function, because inside of `$()` bash 5.2
# takes `1<>` for `<>`.)
note() { echo "$2" 1<>"$run/$1"; }

# --- what is known -----------------------------------------------------------------------------------------

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

# --- starting ----------------------------------------------------------------------------------------------

go() {
    # Read to the end first: a connection that breaks in the middle must not count as a start.
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
    # Making a link is atomic, exclusive, and tells who made it. A second one fails here, for ever.
    if [ -L "$home/accepted" ] || ! ln -s "$(identity $$)" "$home/accepted" 2>/dev/null; then
        echo "refused $(state)"
        return
    fi
    flush "$home"
    mkdir "$run"
    # The supervisor closes its standard output when it stands, and this waits for that.
    answer=$(printf '%s\n' "$payload" | detach sh "$self" _supervise "$mask" 2>>"$run/errors")
    [ "$answer" = accepted ] || failed=1 # we live, but start nothing any more
    echo "${answer:-refused $(state)}"
}

supervise() {
    cd "$run" || exit 1
    payload=$(cat)
    # shellcheck disable=SC2046
    set -- "$1" $(printf '%s\n' "$payload" | sed -n 1p)
    mask=$1 deadline=$5 cause=$6 grace=$7 limit=$8 kind=$9 idle=${10-0}
    tail=$((limit / 2))
    [ "$tail" -le 16777216 ] || tail=16777216
    head=$((limit - tail))
    # Files that were brought are the folder in which the command starts.
    if [ -d "$home/tree" ]; then mv "$home/tree" work; else mkdir work; fi || exit 1
    mkfifo pipe alive held kept.pipe over.pipe && : >log && echo "$head" >limit || exit 1
    for name in exit.new kept over sum front ender idle; do
        printf '%200s\n' '' >"$name" || exit 1
    done
    printf '%s\n' "$payload" | sed -n 3p | unbase64 >script || exit 1
    # Behind the command, where there is one, the set-up: it is told from the last line by its length.
    setup=$(printf '%s\n' "$payload" | sed -n 4p)
    if [ "$setup" != end ]; then printf '%s\n' "$setup" | unbase64 >setup || exit 1; fi
    # Whoever reads these two pipes is told of our end, by whatever cause, by their end of file.
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
    # In the foreground: `&` would make the command ignore INT and QUIT.
    # shellcheck disable=SC2086
    printf '%s\n' "$payload" | sed -n 2p | unbase64 |
        (session $signals sh "$self" _launch "$kind" "$mask") >pipe 2>&1 8>&- 9>&-
    finish $? exit_code
}

# The command's own process: it becomes the command. Standard input brings the environment.
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
    # By a file: whatever a profile prints, leaves running or waits for, it cannot get into PATH.
    limited=
    ! can timeout || limited="timeout -k 1 10"
    # shellcheck disable=SC2016,SC2086
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
    # From here on the user's variables may replace ours: only the words are used.
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

# --- the log -----------------------------------------------------------------------------------------------

# logger HEAD TAIL: drain descriptor 4 to its end, whatever happens to the disk.
logger() {
    wc -c <kept.pipe 1<>kept &
    front "$1" "$2" | tee log kept.pipe 4<&- | digest 1<>sum 4<&-
    wait
    ln -s . logged
}

# front HEAD TAIL: copy the first HEAD bytes as they come, of the rest the last TAIL bytes when it ends.
# Each reader of the pipe leaves its number in `front`, for the one who must end it.
front() {
    left=$1
    exec 3>&1
    while [ "$left" -gt 0 ]; do
        # dd never reads more than count blocks, and copies what it has at once; a short read only means that
        # it comes back earlier with bytes still to go.
        block=65536
        [ "$left" -ge $block ] || block=4096
        [ "$left" -ge $block ] || block=1
        blocks=$((left / block))
        counts=$(
            LC_ALL=C dd bs=$block count=$blocks <&4 2>&1 >&3 3>&- 4<&- &
            note front $!
            wait $!
        ) || return
        # It says `R+P records in`, `W+Q records out`, `N bytes ...`, perhaps after a warning or two.
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

# --- the end -----------------------------------------------------------------------------------------------

# clock: set `seconds`, by a clock that nobody sets where there is one.
clock() {
    if [ -r /proc/uptime ]; then
        read -r seconds </proc/uptime
        seconds=${seconds%%.*}
    else
        seconds=$(date +%s)
    fi
}

# within SECONDS CONDITION...: wait for it that long, or up to a second longer; in steps of 20 ms, later of 200 ms.
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

# finish CODE CAUSE: the command's own process is dead; close the log and write the record.
finish() {
    cd "$run" || exit 1
    # Where the whole machine is taken down, whoever is killed a moment after the command must not call that the
    # command's own end.
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

# keep DEADLINE CAUSE GRACE IDLE: hold the deadline, and where IDLE is not 0 watch for idle GPUs; if the supervisor
# dies without a record, stand in for it.
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
    # Not behind `||`: bash would keep a process of ours, with the pipes open.
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

# watch IDLE GRACE: end the command once its GPUs did nothing and its log grew by nothing for so many seconds.
# A sample that says nothing, such as `[N/A]`, counts as busy: better to pay for a while than to end what works.
# One tells of a second at most, so they are many, and at uneven times: what works in bursts must be met.
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

# written: what changes whenever the command writes, also where the log does not grow any more.
written() {
    reader=$(word front)
    echo "$(wc -c <log) $reader $(sed -n 's/^rchar: //p' "/proc/${reader:-none}/io" 2>/dev/null)"
}

# busy SAMPLE: does any GPU do something? Below 5 percent is what looking at it costs.
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
    # In our group, so that it ends with the watch.
    if timeout --foreground 1 true 2>/dev/null; then
        limited="timeout --foreground -k 1 20"
    elif can timeout; then
        limited="timeout -k 1 20"
    fi
    # shellcheck disable=SC2086
    found=$($limited nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null) || exit 4
    found=$(echo "$found" | tr -d ' \r' | tr '\n' ',')
    found=${found%,}
    case $found in '' | *[!0-9,]*) exit 4 ;; esac
    echo "$found"
}

idle() { line idle; }

# end CAUSE GRACE: TERM, wait, KILL. Whoever makes the link `verdict` first gives the end its cause; the
# supervisor makes it when the command has ended by itself.
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

# --- following ---------------------------------------------------------------------------------------------

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
    # over: lives until nobody writes the log any more. The end of the pipe tells of the supervisor's and the
    # keeper's; only if both were killed while the command goes on does it have to look again and again.
    (
        # Whoever is ended takes its child along. `$!` is set at once, a variable of ours a moment late; and once
        # is not enough, for a child that is not the cat yet loses a signal that we catch.
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

# copy OFFSET: for a tail without --pid.
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
