#!/usr/bin/env bash
# Proves the containers with a real engine: images built from the unchanged Dockerfiles, docker-compose.yml brought up,
# an image classified, everything taken down and up again with the data still there.
#   verify.sh          build, then check
#   verify.sh build    only build the images (needs the package registries)
#   verify.sh check    only check (needs no network)
# Needs docker and compose. It works in a compose project of its own and removes that project's volumes at the end.
# Where the engine must be handled in a special way, these commands take the place of the usual ones:
#   DOCKER_BUILD  (docker build -t)                                    followed by TAG FOLDER
#   COMPOSE_UP    (docker compose up --detach --wait --no-build)
set -euo pipefail
cd "$(dirname "$0")/../../.."
export COMPOSE_PROJECT_NAME=image-classifier-verify
say() { printf '\n==> %s\n' "$1"; }
fail() { echo "error: $1" >&2; exit 1; }

read -ra docker_build <<<"${DOCKER_BUILD:-docker build -t}"
read -ra compose_up <<<"${COMPOSE_UP:-docker compose up --detach --wait --no-build}"

command -v docker >/dev/null || fail "there is no docker: install a container engine with compose"
docker compose version >/dev/null 2>&1 || fail "docker has no compose plug-in: install it"
if [ -z "${DOCKER_BUILD:-}" ] && ! docker version >/dev/null 2>&1; then
  fail "the container engine does not answer: start it, or set DOCKER_HOST"
fi

build() {
  say "Building image-classifier-web"
  "${docker_build[@]}" image-classifier-web project
  say "Building image-classifier-db"
  "${docker_build[@]}" image-classifier-db project/db
}

in_image() { docker run --rm --network none --entrypoint sh image-classifier-web -c "$1"; }
in_web() { docker compose exec -T web "$@"; }

look() {
  say "What is in the image"
  docker image inspect image-classifier-web --format 'size: {{.Size}} bytes, user: {{.Config.User}}' \
    | awk '{$2 = sprintf("%.0f MB (%s", $2 / 1e6, $2); sub(" bytes,", " bytes),"); print}'
  in_image 'id; du -sh /venv /models /service 2>/dev/null; ls /models; python -c "
import importlib.metadata as m
print(*sorted(f\"{d.name}=={d.version}\" for d in m.distributions()), sep=\"\n\")"'
  [ "$(in_image 'id -u')" != 0 ] || fail "the image runs as root"
  in_image '! python -c "import tensorflow" 2>/dev/null' || fail "the image holds TensorFlow"
  in_image '! command -v gcc cc g++ make' || fail "the image holds a compiler"
  [ "$(docker image inspect image-classifier-web --format '{{if .Config.Healthcheck}}yes{{end}}')" = yes ] \
    || fail "the image has no HEALTHCHECK"
}

up() { "${compose_up[@]}" || { docker compose logs; fail "compose did not come up"; }; }

check() {
  look
  trap 'docker compose down --volumes >/dev/null 2>&1 || true' EXIT
  docker compose down --volumes
  say "compose up --wait"
  up
  docker compose ps
  say "An image and its prediction"
  told=$(in_web python - <"project/tests/containers/upload.py")
  echo "$told"
  id=$(awk '/^id / {print $2}' <<<"$told")
  docker compose exec -T web-db psql -U postgres -tAc 'SELECT version()' -d predictions_test
  say "compose down, and up again: the prediction and its image are still there"
  docker compose down
  up
  in_web python - "$id" <"project/tests/containers/read.py"
  say "All of it works"
}

case ${1:-all} in
  build) build ;;
  check) check ;;
  all) build; check ;;
  *) sed -n '2,11p' "$0"; exit 2 ;;
esac
