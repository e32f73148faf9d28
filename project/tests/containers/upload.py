"""Runs in the container ``web``: uploads a picture, waits for its prediction and prints its id."""

import json
import time
import urllib.request
from io import BytesIO

from PIL import Image

URL = "http://127.0.0.1:8004/predictions/"

picture = BytesIO()
Image.radial_gradient("L").convert("RGB").save(picture, "JPEG")
body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="gradient.jpg"\r\n\r\n' + picture.getvalue()
request = urllib.request.Request(URL, body + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"})
begun = time.monotonic()
with urllib.request.urlopen(request) as response:
    accepted = json.load(response)
assert accepted["status"] == "pending", accepted
while True:
    with urllib.request.urlopen(f"{URL}{accepted['id']}/") as response:
        prediction = json.load(response)
    if prediction["status"] in {"succeeded", "failed"}:
        break
    assert time.monotonic() < begun + 30, prediction
    time.sleep(0.05)
print(json.dumps(prediction, indent=2))
assert prediction["status"] == "succeeded"
assert len(prediction["all_predictions"]) == 5
print(f"after {time.monotonic() - begun:.2f} s")
print("id", prediction["id"])
