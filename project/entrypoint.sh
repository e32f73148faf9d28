#!/bin/sh
# Applies migrations, then runs the command. Any number of containers may start concurrently.
set -eu
# The embedded database needs a name for the user, which platforms such as OpenShift choose.
if [ -w /etc/passwd ] && ! grep -q "^[^:]*:[^:]*:$(id -u):" /etc/passwd; then
  echo "classifier:x:$(id -u):0::/tmp:/usr/sbin/nologin" >>/etc/passwd
fi
classifier migrate
exec "$@"
