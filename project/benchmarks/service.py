"""The service as it is run: migrated, then served."""

import sys

from app.cli.main import main

sys.exit(main(["migrate"]) or main(["serve"]))
