#!/bin/sh
# Brings the tables up to date, then becomes the command. Any number of containers may start at once.
set -eu
python -m app migrate
exec "$@"
