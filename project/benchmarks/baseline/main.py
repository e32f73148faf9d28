"""The service that tutorials end with: TensorFlow in the web process, and ``model.predict`` in a BackgroundTask.

Written from that description, as a user would write it: an ``async def`` route, one file per upload, Tortoise rows, the
prediction on the event loop. It is what the real service is compared with, not an example to follow.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiofiles
import keras
import numpy as np
from fastapi import BackgroundTasks, FastAPI, HTTPException, UploadFile
from PIL import Image
from tortoise import fields
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.models import Model

UPLOADS = Path(os.environ["UPLOADS_DIR"])
UPLOADS.mkdir(parents=True, exist_ok=True)
LABELS = Path(os.environ["LABELS"]).read_text().split()
SIDE = 224


class Prediction(Model):
    """One upload."""

    id = fields.IntField(primary_key=True)
    filename = fields.CharField(max_length=255)
    image_path = fields.CharField(max_length=255)
    status = fields.CharField(max_length=20, default="pending")
    top_prediction = fields.CharField(max_length=100, null=True)
    confidence = fields.FloatField(null=True)

    class Meta:
        """Table."""

        table = "baseline_predictions"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model and connect."""
    app.state.model = keras.applications.MobileNetV2(weights=os.environ["MODEL_WEIGHTS"])
    async with RegisterTortoise(
        app, db_url=os.environ["DATABASE_URL"], modules={"models": [__name__]}, generate_schemas=True
    ):
        yield


app = FastAPI(lifespan=lifespan)


async def classify(prediction_id: int) -> None:
    """Classify one upload, on the event loop."""
    prediction = await Prediction.get(id=prediction_id)
    async with aiofiles.open(prediction.image_path, "rb") as file:
        data = await file.read()
    image = Image.open(BytesIO(data)).convert("RGB").resize((SIDE, SIDE))
    pixels = keras.applications.mobilenet_v2.preprocess_input(np.asarray(image, dtype=np.float32)[np.newaxis])
    scores = app.state.model.predict(pixels, verbose=0)[0]
    best = int(scores.argmax())
    prediction.top_prediction, prediction.confidence = LABELS[best], float(scores[best])
    prediction.status = "succeeded"
    await prediction.save()


@app.post("/predictions/", status_code=201)
async def upload(file: UploadFile, background_tasks: BackgroundTasks) -> dict[str, object]:
    """Keep the file, make a row, and classify it later."""
    path = UPLOADS / f"{uuid.uuid4().hex}.jpg"
    async with aiofiles.open(path, "wb") as target:
        await target.write(await file.read())
    prediction = await Prediction.create(filename=file.filename or "", image_path=str(path))
    background_tasks.add_task(classify, prediction.id)
    return {"id": prediction.id, "filename": prediction.filename, "status": prediction.status}


@app.get("/predictions/{prediction_id}/")
async def read(prediction_id: int) -> dict[str, object]:
    """One prediction."""
    prediction = await Prediction.get_or_none(id=prediction_id)
    if prediction is None:
        raise HTTPException(404, "Prediction not found")
    return {
        "id": prediction.id,
        "status": prediction.status,
        "top_prediction": prediction.top_prediction,
        "confidence": prediction.confidence,
    }
