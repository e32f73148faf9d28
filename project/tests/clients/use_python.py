"""Uses the client that openapi-python-client generates: uploads a picture, and reads and deletes its prediction."""

import os
import sys
from io import BytesIO

from image_classifier_client import AuthenticatedClient
from image_classifier_client.api.predictions import (
    delete_prediction_predictions_id_delete,
    list_predictions_predictions_get,
    upload_image_predictions_post,
)
from image_classifier_client.models import PredictionRead, UploadImagePredictionsPostFilesUpload
from image_classifier_client.types import File
from PIL import Image

picture = BytesIO()
Image.radial_gradient("L").convert("RGB").save(picture, "JPEG")
picture.seek(0)
key = os.environ.get("API_KEY", "")
with AuthenticatedClient(base_url=sys.argv[1], token=key, prefix="", auth_header_name="X-API-Key") as client:
    body = UploadImagePredictionsPostFilesUpload(file=File(picture, "a.jpg", "image/jpeg"))
    made = upload_image_predictions_post.sync(client=client, body=body, prefer="wait=30")
    assert isinstance(made, PredictionRead), made
    assert made.status == "succeeded"
    assert made.all_predictions
    assert len(made.all_predictions) == 5
    listed = list_predictions_predictions_get.sync(client=client, limit=1)
    assert isinstance(listed, list), listed
    assert listed[0].id == made.id
    assert delete_prediction_predictions_id_delete.sync(made.id, client=client) is not None
