"""Ray Serve: one replica a core, with FastAPI in front."""

import os
import signal
import time
from typing import Annotated

import ray
from fastapi import FastAPI, File, UploadFile
from ray import serve

from benchmarks.peers.model import answer, load

app = FastAPI()
CORES = len(os.sched_getaffinity(0))


@serve.deployment(num_replicas=CORES, max_ongoing_requests=8, ray_actor_options={"num_cpus": 0.5})
@serve.ingress(app)
class ImageDeployment:
    """A file in, labels out."""

    def __init__(self) -> None:
        self.classifier = load()

    @app.post("/predict")
    async def predict(self, file: Annotated[UploadFile, File()]) -> dict[str, object]:
        """Decoding and inference."""
        return answer(self.classifier, await file.read())


if __name__ == "__main__":
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"]), "access_log": False})
    serve.run(
        ImageDeployment.bind(),  # type: ignore[attr-defined]  # the decorator makes a deployment of it
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()
        ray.shutdown()
