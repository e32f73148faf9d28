"""Runs in the container ``web``: reads an earlier prediction and its image."""

import json
import sys
import urllib.request
from pathlib import Path

address = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8004"
with urllib.request.urlopen(f"{address}/predictions/{sys.argv[1]}/") as response:
    prediction = json.load(response)
print(prediction["id"], prediction["status"], prediction["top_prediction"], prediction["created_at"])
assert prediction["status"] == "succeeded"
assert (Path("/data/uploads") / prediction["image_path"]).stat().st_size == prediction["size_bytes"]
