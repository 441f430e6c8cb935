"""llama.cpp's own server on loopback with the weights of one GGUF file: `python -m hydra_ml.io.local_server FILE ...`.

A process of its own, so that the product asks it as it asks any server, and that it can die alone. Ends with its
parent. Needs the extra [local-llm].
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import threading

PR_SET_PDEATHSIG = 1  # Linux: a signal for this process when its parent dies


def serve(weights: str, *, name: str, port: int, slots: int, context: int, threads: int) -> None:
    """Serve until SIGTERM or SIGINT. context: tokens of one prompt with its answer; slots: answers made at once."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cont_batching = True
    params.ui = False
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", flush=True)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m hydra_ml.io.local_server", description=__doc__)
    parser.add_argument("weights", help="a GGUF file")
    parser.add_argument("--name", required=True, help="the model's name in requests")
    for option in ("port", "slots", "context", "threads", "parent"):
        parser.add_argument(f"--{option}", type=int, required=True)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != given.parent:
        return  # it died before it could be watched
    serve(
        given.weights,
        name=given.name,
        port=given.port,
        slots=given.slots,
        context=given.context,
        threads=given.threads,
    )


if __name__ == "__main__":
    main()
