"""``make bench``: the floor, the service, the tutorial's service and the peers, in alternating rounds of one run."""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.classifier.manifest import MANIFEST
from benchmarks import history
from benchmarks.contenders import REPOSITORY, Bench, Contender, Round, floor
from benchmarks.machine import installed, machine
from benchmarks.report import markdown, summary

# The same images again and again: each is to be classified.
OURS: Final = {"DATA_DIR": "{WORK}/data", "WORKER_THREADS": "", "LOG_LEVEL": "WARNING", "REUSE_ANSWERS": "0"}


def contenders(model: str) -> dict[str, Callable[[Bench], Round]]:
    """All contenders by name."""

    def ours(name: str, chosen: str) -> Contender:
        # A folder with that model alone, as most services have it.
        variables = {**OURS, "MODEL": chosen, "MODELS_DIR": f"{{MODELS}}/only/{chosen}"}
        command = ("python", "-m", "benchmarks.service")
        return Contender(
            name, ".venv", command, variables, "/predictions/", ready="/ready", headers="Prefer: wait=60\r\n"
        )

    peer = {"MODEL_FOLDER": "{MODEL}"}
    all_of_them = [
        ours("service fp32", model),
        ours("service bf16", f"{model}_bf16"),
        ours("service int8", f"{model}_int8"),
        ours("service int8, OpenVINO", f"{model}_int8_openvino"),
        Contender("LitServe", ".venv-bench-litserve", ("python", "-m", "benchmarks.peers.litserve_server"), peer),
        Contender(
            "BentoML",
            ".venv-bench-bentoml",
            ("bentoml", "serve", "benchmarks.peers.bentoml_server:ImageService", "--port", "{PORT}"),
            {**peer, "BENTOML_HOST": "127.0.0.1"},
            ready="/readyz",
        ),
        Contender(
            "mosec",
            ".venv-bench-mosec",
            ("python", "-m", "benchmarks.peers.mosec_server"),
            peer,
            path="/inference",
        ),
        Contender("Ray Serve", ".venv-bench-ray", ("python", "-m", "benchmarks.peers.ray_server"), peer, ready="/docs"),
        Contender(
            "bare endpoint",
            ".venv",
            ("uvicorn", "benchmarks.peers.bare_endpoint:app", "--port", "{PORT}", "--no-access-log"),
            {},
        ),
        Contender(
            "tutorial",
            ".venv-bench-baseline",
            ("uvicorn", "benchmarks.baseline.main:app", "--port", "{PORT}", "--no-access-log"),
            {"UPLOADS_DIR": "{WORK}/uploads", "LABELS": "{MODEL}/labels.txt", "MODEL_WEIGHTS": "{WEIGHTS}"},
            "/predictions/",
            ready="/docs",
            polls=True,
            database=True,
        ),
    ]
    return {
        "floor fp32": floor(model),
        "floor bf16": floor(f"{model}_bf16"),
        "floor int8": floor(f"{model}_int8"),
        "floor int8, OpenVINO": floor(f"{model}_int8_openvino"),
        **{contender.name: contender.run for contender in all_of_them},
    }


def lay_out(models: Path, model: str, folder: Path) -> Path:
    """A folder of the models that are measured, and below ``only`` a folder for each with nothing but it.

    The int8 file is there twice, since OpenVINO runs it as well as ONNX Runtime; and so is the fp32 file, which it runs
    in bfloat16.
    """
    for name in (model, f"{model}_int8"):
        shutil.copytree(models / name, folder / name)
    openvino = f"{model}_int8_openvino"
    shutil.copytree(folder / f"{model}_int8", folder / openvino)
    manifest = (folder / openvino / MANIFEST).read_text()
    if tomllib.loads(manifest)["runtime"] != "onnx":
        sys.exit(
            f"error: {models / model}_int8 was made by an earlier version: delete it, and `make bench` makes it anew"
        )
    manifest = manifest.replace(f'name = "{model}_int8"', f'name = "{openvino}"')
    (folder / openvino / MANIFEST).write_text(manifest.replace('runtime = "onnx"', 'runtime = "openvino"'))
    bf16 = f"{model}_bf16"
    shutil.copytree(folder / model, folder / bf16)
    manifest = (folder / bf16 / MANIFEST).read_text()
    for key, (before, after) in (
        ("name", (model, bf16)),
        ("runtime", ("litert", "openvino")),
        ("precision", ("fp32", "bf16")),
    ):
        manifest = manifest.replace(f'{key} = "{before}"', f'{key} = "{after}"')
    (folder / bf16 / MANIFEST).write_text(manifest)
    for one in list(folder.iterdir()):
        shutil.copytree(one, folder / "only" / one.name / one.name)
    return folder


def main() -> int:
    """Run the benchmark and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each contender in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--models", type=Path, required=True, help="folder with the model and its int8 twin")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument(
        "--weights", type=Path, required=True, help="the model's Keras weights, for the tutorial's service"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG files to upload")
    parser.add_argument("--only", default="", help="names, separated by semicolons")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json and results.md")
    parser.add_argument("--history", action="store_true", help="add the results to history.jsonl and its plot")
    given = parser.parse_args()
    # Services run in other folders.
    given.output = given.output.resolve()
    chosen = contenders(given.model)
    if given.only:
        chosen = {name: run for name, run in chosen.items() if name in given.only.split(";")}
    rounds: dict[str, list[Round]] = {name: [] for name in chosen}
    given.output.mkdir(parents=True, exist_ok=True)
    # Not where tests have just removed thousands of files: on some disks (ext4 without a journal) each new file is then
    # looked for among them for five minutes, which cost 7 % of the uploads.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.output) as work:
        bench = Bench(
            models=lay_out(given.models.resolve(), given.model, Path(work) / "models"),
            model=given.model,
            images=given.images.resolve(),
            weights=given.weights.resolve(),
            work=Path(work),
            seconds=given.seconds,
            connections=given.connections,
            cores=len(os.sched_getaffinity(0)),
        )
        for number in range(given.rounds):
            for name, run in chosen.items():
                measured = run(bench)
                rounds[name].append(measured)
                p99 = statistics.quantiles(measured.latencies, n=100)[98] if len(measured.latencies) > 1 else 0
                message = f"{measured.per_second:7.1f}/s  p99 {1000 * p99:6.0f} ms  lost {measured.lost}"
                print(f"round {number + 1}  {name:14} {message} {measured.errors or ''}", file=sys.stderr, flush=True)
    peers = {name: installed(REPOSITORY / f".venv-bench-{name}", package) for name, package in _PACKAGES.items()}
    result = summary(rounds, {**machine(), **peers}, given)
    (given.output / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    table = markdown(result)
    (given.output / "results.md").write_text(table)
    if given.history:
        history.append(result)
    print(table)
    return 0


_PACKAGES: Final = {
    "litserve": "litserve",
    "bentoml": "bentoml",
    "mosec": "mosec",
    "ray": "ray",
    "baseline": "tensorflow-cpu",
}

if __name__ == "__main__":
    sys.exit(main())
