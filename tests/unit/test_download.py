"""Fetching models and data on one machine and running without network on another."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serac_jax.models import hub
from tests.conftest import MODELS, ROOT
from tests.tiny import one_layer

NAMES = {
    "google/t5": "t5-tiny",
    "small": "t5-tiny",
    "org/distil": "distilbert-tiny-cased",
    "org/minilm": "mpnet-like-tiny",
}
CONFIG = (
    "--config=configs/zsre_hard_rep.py:mini",
    "--config.base.name=google/t5",
    "--config.serac.counterfactual=small",
    "--config.serac.scope=org/distil",
    "--config.data.hard_negatives=org/minilm",
    "--config.data.answer_tokens=32",
    "--config.data.train_split=dev",  # smaller
)


@pytest.fixture
def run(tmp_path):
    """Runs Python in a home of its own, without the Hub."""

    def run(*arguments, **environment):
        home = {
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHONPATH": "",
            "HF_HUB_OFFLINE": "1",
        }
        environment = (
            {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("HF_", "XDG_"))
            }
            | home
            | environment
        )
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_after_a_download_a_run_needs_no_network(run, tmp_path):
    training = (
        "train.py",
        *CONFIG,
        "--config.train.steps=2",
        "--config.train.val_batches=1",
        f"--workdir={tmp_path / 'run'}",
    )
    before = run(*training)
    assert before.returncode == 1
    assert (
        before.stderr.strip()
        .splitlines()[-1]
        .startswith(
            "error: 'google/t5' is not a folder, is not in the Hugging Face cache, and the Hub"
        )
    )
    assert "serac download" in before.stderr
    assert "Traceback" not in before.stderr

    for name, model in NAMES.items():
        shutil.copytree(one_layer(model), tmp_path / "mirror" / name)
    fetched = run("-m", "serac_jax", "download", *CONFIG, f"--mirror={tmp_path / 'mirror'}")
    assert fetched.returncode == 0, fetched.stderr
    assert [line.split()[0] for line in fetched.stdout.splitlines()[:3]] == [
        "google/t5",
        "org/distil",
        "small",
    ]
    assert {"zsre dev", "zsre test", "org/minilm"} <= {
        line[:40].strip() for line in fetched.stdout.splitlines()
    }

    shutil.rmtree(tmp_path / "mirror")
    trained = run(*training)
    assert trained.returncode == 0, trained.stderr
    assert "all steps done" in trained.stdout


def test_a_model_that_a_mirror_lacks_is_named(tmp_path):
    with pytest.raises(
        hub.ModelNotFound,
        match=r"mirror has no folder 'org/other'; a mirror has every model under its name",
    ):
        hub.adopt("org/other", tmp_path / "mirror")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's interface as a download uses: what a repository holds, and its files."""

    folder: Path
    asked: list[str]

    def do_GET(self):
        files = sorted(self.folder.iterdir())
        if "/tree/" in self.path:
            body = json.dumps(
                [
                    {
                        "type": "file",
                        "path": file.name,
                        "size": file.stat().st_size,
                        "oid": file.name,
                    }
                    for file in files
                ]
            ).encode()
        elif self.path.startswith("/api/"):
            body = json.dumps(
                {
                    "id": "org/bert",
                    "sha": "a" * 40,
                    "siblings": [{"rfilename": file.name} for file in files],
                }
            ).encode()
        else:
            name = self.path.rsplit("/", 1)[1]
            self.asked.append(name)
            body = (self.folder / name).read_bytes()
        self.send_response(200)
        for header, value in {
            "X-Repo-Commit": "a" * 40,
            "ETag": f'"{len(body)}"',
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.mark.slow
def test_of_a_repository_only_the_best_weights_are_fetched(run, tmp_path):
    """From a server that speaks like the Hub: sharded weights come with their parts, other formats
    stay."""
    Hub.folder, Hub.asked = Path(shutil.copytree(MODELS / "bert-tiny-cased", tmp_path / "bert")), []
    (Hub.folder / "model.safetensors").rename(Hub.folder / "model-00001-of-00001.safetensors")
    (Hub.folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"x": "model-00001-of-00001.safetensors"}})
    )
    for other in ("pytorch_model.bin", "flax_model.msgpack", "README.md"):
        (Hub.folder / other).write_text("other")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    online = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    code = "from serac_jax import models; print(models.load('org/bert', output='mean')[0].folder)"
    process = run("-c", code, **online)
    assert process.returncode == 0, process.stderr
    assert {file.name for file in Path(process.stdout.strip()).iterdir()} == set(Hub.asked)
    assert {file for file in Hub.asked if not file.endswith((".json", ".txt"))} == {
        "model-00001-of-00001.safetensors"
    }
    server.shutdown()
    server.server_close()
    assert run("-c", code).stdout == process.stdout
