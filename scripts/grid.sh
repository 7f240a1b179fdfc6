# Sourced by scripts that train and evaluate a grid of runs, one after the other.
#
# DRY=1       print the commands, run nothing
# ONLY=3      run only the fourth run (scripts/slurm.sh)
# RUNS=DIR    the folder of the runs (default: runs); runs that exist are continued
# shellcheck shell=bash
set -euo pipefail
case ${1:-} in
    -h | --help) # prints the comment at the top of the started script
        sed -n '2,/^# shellcheck\|^[^#]/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"
        exit
        ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
number=0

# train_and_evaluate NAME OPTION…: trains with these options of train.py, and evaluates. For an editor
# without training, train.py only writes the run's folder.
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
