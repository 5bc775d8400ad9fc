# How bash tries: sourced in a child kernel. Each way says "gained: …" or "refused: …".

report() {
    local number=$1
    shift
    printf '#%s %s\n' "$number" "$("$@" 2>&1 | tr '\n\0' '  ' | head -c 2000)"
}

tried() {
    local said
    if said=$("$@" 2>&1 | tr -d '\0' | head -c 1000; exit "${PIPESTATUS[0]}"); then echo "gained: $said"; else echo "refused: $said"; fi
}

# -- files, networks, processes --

_new() { [ -d "$1" ] && { set -C; : > "$1/new" && rm "$1/new"; } || { [ ! -d "$1" ] && : >> "$1"; }; }
_follow() { rm -f /tmp/work/link; ln -s "$1" /tmp/work/link && cat /tmp/work/link; }
_open() { exec 9<> "/dev/$1/$2/$3"; }
_send() { echo out > "/dev/udp/$1/$2"; }

try_read() { tried cat "$1"; }
try_write() { tried _new "$1"; }
try_list() { tried ls "$1"; }
try_remove() { tried rm "$1"; }
try_rename() { tried mv "$1" "$1.moved"; }
try_chmod() { tried chmod 777 "$1"; }
try_touch() { tried touch -d @1 "$1"; }
try_truncate() { tried truncate -s 0 "$1"; }
try_symlink() { tried _follow "$1"; }
try_hardlink() { tried ln "$1" "/tmp/work/hard-${1##*/}"; }
try_link_in() { tried ln -s /etc/passwd "$1/new-link"; }
try_tcp() { tried _open tcp "$1" "$2"; }
try_udp() { tried _send "$1" "$2"; }
try_resolve() { tried getent hosts "$1"; }
try_signal() { tried kill "-$2" "$1"; }
try_environment() { echo "gained: $(env)"; }
try_processes() { echo "gained: $(cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' ' ')"; }
try_run() { tried "$@" < /dev/null; }

# -- using everything up --

use_memory() {
    local hoard=x
    while :; do hoard=$hoard$hoard; done
}

use_memory_by_many() {
    for _ in {1..20}; do
        { hoard=$(head -c 400000000 /dev/zero | tr '\0' x); sleep 60; } &
    done
    wait
}

use_processes() {
    local made=0
    while [ $made -lt 3000 ] && { sleep 60 & } 2> /dev/null; do made=$((made + 1)); done
    echo "made $(ls -d /proc/[0-9]* | wc -l)"
}

use_disk() {
    local number
    for number in {1..64}; do head -c 67108864 /dev/zero > "$1/fill-$number" || break; done 2> /dev/null
    echo "made $(du -sm "$1" | cut -f 1)"
}

use_inodes() {
    cd "$1" && seq 3000000 | xargs touch 2> /dev/null
    echo "made $(ls -f "$1" | wc -l)"
}

use_descriptors() {
    local made=0 descriptor
    while [ $made -lt 100000 ] && exec {descriptor}< /dev/null; do made=$((made + 1)); done 2> /dev/null
    echo "made $made"
}

use_depth() {
    local made=0
    while [ $made -lt 20000 ] && mkdir d && cd d; do made=$((made + 1)); done 2> /dev/null
    cd /tmp/work
    echo "made $made"
}

use_a_huge_file() {
    if truncate -s 16T /tmp/work/huge 2> /dev/null; then echo "made 16777216"; else echo "made 0"; fi
}

use_stack() { use_stack; }
use_time() { while :; do :; done; }

use_time_by_many() {
    for _ in {1..24}; do use_time & done
    use_time
}

use_output() { while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done; }

ignore_all() {
    trap '' INT TERM HUP QUIT
    while :; do :; done
}

kill_all() { kill -KILL -1; }

leave_behind() {
    for _ in {1..5}; do (setsid sleep 600 > /dev/null 2>&1 &); done
    echo "made 0"
}
