"""``python -m app``."""

import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

if __name__ == "__main__":
    try:
        # Imported here, because Ctrl-C may also arrive during the imports.
        from app.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
