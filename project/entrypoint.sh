#!/bin/sh
# Applies migrations, then runs the command. Any number of containers may start concurrently.
set -eu
classifier migrate
exec "$@"
