# Read by the scripts of a grid of runs: trains and evaluates one run after the other.
#
# DRY=1       print the commands, run nothing
# ONLY=3      the fourth run alone (scripts/slurm.sh)
# RUNS=DIR    where runs are kept (runs); what is there goes on where it was stopped
# shellcheck shell=bash
set -euo pipefail
case ${1:-} in
    -h | --help) # the comment at the top of the script that was started
        sed -n '2,/^# shellcheck\|^[^#]/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"
        exit
        ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
number=0

# train_and_evaluate NAME OPTION…: with these options of train.py, which writes only the folder of a run that has nothing to learn.
train_and_evaluate() {
    local workdir=${RUNS:-runs}/$1
    if [[ ${ONLY:-$number} == "$number" ]]; then
        step python train.py "${@:2}" "--workdir=$workdir"
        step python eval.py "--workdir=$workdir"
    fi
    number=$((number + 1))
}

step() {
    if [[ -n ${DRY:-} ]]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}
