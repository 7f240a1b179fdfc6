#!/usr/bin/env bash
# Runs a grid script on a Slurm cluster, divided among the tasks of an array. Compute nodes need no
# network.
#
#   python -m serac_jax download zsre_rep              once for every config, on a machine with network
#   sbatch scripts/slurm.sh [scripts/main.sh [--config.FIELD=VALUE …]]
#   sbatch --array=0-7 scripts/slurm.sh scripts/ablations.sh
#   sbatch --nodes=2 --ntasks=2 --ntasks-per-node=1 --gres=gpu:8 scripts/slurm.sh
#                                      each run uses the GPUs of two nodes, one process per node
#   LLsub scripts/slurm.sh [2,4,10]    a wrapper that numbers its processes itself
#
# Two minutes before the time limit, or when the job is preempted, the run saves a checkpoint and the
# job is requeued; it then continues from there. DRY=1 prints the commands.
#SBATCH --job-name=serac
#SBATCH --array=0-23
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=serac-%A-%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}" # Slurm runs a copy of this file

export HF_HUB_OFFLINE=1
grid=${1:-scripts/main.sh}
rank=$((${SLURM_ARRAY_TASK_ID:-${LLSUB_RANK:-0}} - ${SLURM_ARRAY_TASK_MIN:-0}))
size=${SLURM_ARRAY_TASK_COUNT:-${LLSUB_SIZE:-1}}
runs=$(DRY=1 "$grid" | grep -c '^python eval.py')

stopped='' child=''
stop() {
    stopped=1
    if [[ ${SLURM_NTASKS:-1} -gt 1 ]]; then
        scancel --signal=TERM "$SLURM_JOB_ID" || true # to all tasks of the step, not to this script
    else
        kill -TERM "$child" || true # there may be none just now
    fi
}
trap stop TERM

for ((number = rank; number < runs; number += size)); do
    while read -r line; do
        command=()
        eval "command=($line)" # as printf %q quoted it
        if [[ -n ${DRY:-} ]]; then
            echo "$line"
            continue
        fi
        if [[ ${SLURM_NTASKS:-1} -gt 1 ]]; then
            command=(srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${command[@]}")
        fi
        "${command[@]}" &
        child=$!
        status=0
        wait "$child" || status=$?
        while kill -0 "$child" 2>/dev/null; do # a signal ends `wait`, not the command
            wait "$child" || status=$?
        done
        if [[ -n $stopped && -n ${SLURM_JOB_ID:-} ]]; then
            scontrol requeue "$SLURM_JOB_ID"
        fi
        if [[ -n $stopped || $status != 0 ]]; then
            exit "$status"
        fi
    done < <(DRY=1 ONLY=$number "$grid" "${@:2}")
done
