"""Runs in a container ``web``: uploads images concurrently and waits for all of them."""

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image

address, count = sys.argv[1], int(sys.argv[2])


def ask(request: urllib.request.Request) -> dict[str, object]:
    """The JSON body of the response."""
    with urllib.request.urlopen(request, timeout=90) as response:
        prediction: dict[str, object] = json.load(response)
    return prediction


def upload(number: int) -> dict[str, object]:
    """Upload a new image and return its prediction."""
    image = Image.radial_gradient("L").convert("RGB")
    image.putpixel((0, 0), (number % 256, number // 256, 0))
    picture = BytesIO()
    image.save(picture, "PNG")
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + picture.getvalue()
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Prefer": "wait=60"}
    request = urllib.request.Request(f"{address}/predictions/", body + b"\r\n--x--\r\n", headers)
    prediction = ask(request)
    while prediction["status"] in {"pending", "processing"}:
        # The web process that was asked has been stopped; any other knows as well.
        prediction = ask(urllib.request.Request(f"{address}/predictions/{prediction['id']}/?wait=60"))
    return prediction


with ThreadPoolExecutor(8) as pool:
    predictions = list(pool.map(upload, range(count)))
assert len({prediction["id"] for prediction in predictions}) == count
assert {prediction["status"] for prediction in predictions} == {"succeeded"}
assert not any(prediction["cached"] for prediction in predictions)
print(count, "uploads accepted and classified")
