# Brings a run's functions into a bash: sourced with KOWALSKI_SOCKET, KOWALSKI_TOKEN and KOWALSKI_FUNCTIONS set.

KOWALSKI_PRELUDES=${BASH_SOURCE[0]%/*}

_kowalski() {
    KOWALSKI_SOCKET=$KOWALSKI_SOCKET KOWALSKI_TOKEN=$KOWALSKI_TOKEN \
        "${KOWALSKI_PYTHON:-python3}" -I -S "$KOWALSKI_PRELUDES/bash_call.py" "$@"
}

# An interrupt is how a command ends an interactive bash's work and keeps its state.
_kowalski_end_cell() {
    builtin kill -INT $$
    [ "$BASHPID" = $$ ] || builtin exit 130
}

FINAL() { _kowalski final "$@" && _kowalski_end_cell; }
share() { _kowalski share "$@"; }
shared() { _kowalski shared "$@"; }

case " $KOWALSKI_FUNCTIONS " in *" llm_query "*)
    llm_query() { _kowalski llm_query "$@"; }
    llm_query_batched() { _kowalski llm_query_batched "$@"; }
    ;;
esac

# Scripts end with `exit`; here that ends the cell, and not the shell with all that it knows.
exit() {
    local status=${1:-$?}
    [ "$BASHPID" = $$ ] || builtin exit "$status"
    KOWALSKI_STATUS=$status
    _kowalski_end_cell
}
