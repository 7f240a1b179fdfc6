"""Running a program as several processes, on one machine or many: how they connect and end.

Every process runs the same program over the devices of all, and places its own rows of a batch on
its own devices. Only process 0 writes files; the others print errors only.

Processes are connected by `--coordinator=HOST:PORT --processes=N --process=I`; automatically as
tasks of a Slurm step (srun) and on hosts of a TPU slice in Kubernetes; or by `--coordinator=auto`
where JAX detects the cluster (TPU pods, Open MPI).
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from serac_jax.core import files
from serac_jax.core.console import complain
from serac_jax.core.errors import UserError

PATIENCE = 300  # seconds that processes wait for one another at start and end
SILENCE = 60  # seconds without a heartbeat after which a process counts as dead and the others end


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the three options that connect processes."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="run as several processes: the address of process 0, or auto: as JAX finds out",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="with --coordinator: how many there are"
    )
    parser.add_argument(
        "--process", type=int, metavar="I", help="with --coordinator: which one this is, from 0"
    )


def run(main: Callable[[], None], options: Namespace) -> None:
    """Runs a program, connected with the other processes if there are any.

    If it fails in one process, it ends in all.
    """
    given = options.coordinator, options.processes, options.process
    if not join(asked(*given, os.environ)):
        main()
        return
    try:
        main()
    except BaseException as error:
        leave(error)


def join(options: dict[str, Any] | None) -> bool:
    """Connects this process with the others; whether there are any.

    Must run before anything touches a device.

    Args:
      options: Of `jax.distributed.initialize`; None: there is no other process.

    Raises:
      UserError: The processes could not connect.
    """
    if options is None:
        if jax.process_count() > 1:  # the hosts of a TPU pod
            raise UserError(
                f"this is process {jax.process_index()} of {jax.process_count()}, and nothing"
                " connects them; give --coordinator=auto to all of them"
            )
        return False
    # On CPU, programs that overlap can receive each other's messages and deadlock.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    visible = jax.config.values["jax_cuda_visible_devices"]
    try:
        jax.distributed.initialize(
            **options,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=SILENCE,
            shutdown_timeout_seconds=PATIENCE,
        )
    except (ValueError, RuntimeError) as error:
        where = options.get("coordinator_address", "one that JAX finds out")
        raise UserError(
            f"the processes did not find one another ({files.reason(error)}); the"
            f" coordinator is {where}; start as many processes as were announced, each with a"
            f" number of its own, within {PATIENCE} seconds, and choose a port that is free and"
            " reachable"
        ) from error
    if os.environ.get("SLURM_STEP_NUM_NODES") == os.environ.get("SLURM_STEP_NUM_TASKS"):
        # under Slurm, JAX assigns one GPU to a task, even to one that has the node to itself
        jax.config.update("jax_cuda_visible_devices", visible)
    # On CPU, the first exchange times out after 30 seconds, as when one process compiles what the
    # others find in the cache.
    if jax.default_backend() == "cpu":
        jax.config.update("jax_enable_compilation_cache", False)
    if jax.process_index() > 0:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 as long as the process
    return True


def asked(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> dict[str, Any] | None:
    """The arguments of `jax.distributed.initialize`; None for a single process.

    Raises:
      UserError: The options are incomplete or do not fit together.
    """
    if coordinator == "auto" and processes is None and process is None:
        return {}
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if coordinator is None or processes is None or process is None:
        if len(missing) < len(given):
            raise UserError(
                f"{', '.join(missing)} is not given; several processes need all of"
                f" {', '.join(given)}, or --coordinator=auto alone"
            )
        in_slurm = int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1
        in_kubernetes = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        return {} if in_slurm or in_kubernetes else None
    if process >= processes or ":" not in coordinator:
        raise UserError(
            f"--coordinator={coordinator} --processes={processes} --process={process}: expected"
            " HOST:PORT, and a process below their number"
        )
    # Without cluster detection a process uses all devices that it sees; under Slurm, JAX would
    # assign one to each.
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def leave(error: BaseException) -> NoReturn:
    """Prints why this process ends, and ends it at once.

    Python's normal exit would wait for the other processes, which wait for this one. They notice at
    their next exchange, or after SILENCE seconds, and end too.
    """
    name = f"process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, UserError):
        message = f"{name}: {error}"
    elif isinstance(error, SystemExit) and not error.code:
        message = ""
    else:
        traceback.print_exception(error)
        message = (
            f"{name} failed (see above), perhaps because another one ended; start all of them again"
            " with the same workdir to continue"
        )
    if message:
        complain(f"error: {message}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if message else 0)


def is_primary() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def wait(place: str) -> None:
    """Waits until every process has reached the place of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def all_agree(holds: bool) -> bool:
    """Whether something holds in every process, which all have to ask."""
    if jax.process_count() == 1:
        return holds
    return bool(multihost_utils.process_allgather(np.asarray(holds)).all())


def stopped(count: int) -> bool:
    """Whether a process received SIGTERM and all have agreed to stop now.

    All have to ask equally often; `count` is how often they have.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(count)
