#!/usr/bin/env bash
# Tests the containers with a real engine: builds the images from the unchanged Dockerfiles, starts docker-compose.yml,
# classifies an image, restarts everything and checks that the data is still there. Then it tests
# docker-compose.prod.yml with two workers, and kills one.
#   verify.sh          build, then check both
#   verify.sh build    only build the images (needs the package registries)
#   verify.sh check    only check docker-compose.yml (needs no network)
#   verify.sh alone    only check the image alone, under a foreign user and with little memory
#   verify.sh prod     only check docker-compose.prod.yml
# Needs docker and compose. It uses its own compose projects and removes their volumes at the end.
# For unusual engines, these variables replace the usual commands:
#   DOCKER_BUILD  (docker build -t)                                    followed by TAG FOLDER
#   BUILD_ARGS    further arguments of DOCKER_BUILD                    such as --build-arg PYTHON_IMAGE=…
#   COMPOSE_UP    (docker compose -f FILE up --detach --wait --no-build)   followed by FILE and further arguments
set -euo pipefail
cd "$(dirname "$0")/../../.."
export COMPOSE_PROJECT_NAME=image-classifier-verify
say() { printf '\n==> %s\n' "$1"; }
fail() { echo "error: $1" >&2; exit 1; }

read -ra docker_build <<<"${DOCKER_BUILD:-docker build -t}"
read -ra build_args <<<"${BUILD_ARGS:-}"
read -ra compose_up <<<"${COMPOSE_UP:-}"

command -v docker >/dev/null || fail "there is no docker: install a container engine with compose"
docker compose version >/dev/null 2>&1 || fail "docker has no compose plug-in: install it"
if [ -z "${DOCKER_BUILD:-}" ] && ! docker version >/dev/null 2>&1; then
  fail "the container engine does not answer: start it, or set DOCKER_HOST"
fi

build() {
  say "Building image-classifier-web"
  "${docker_build[@]}" image-classifier-web project "${build_args[@]}"
  say "Building image-classifier-db"
  "${docker_build[@]}" image-classifier-db project/db "${build_args[@]}"
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
  in_image '! python -c "import tensorflow" 2>/dev/null' || fail "the image has TensorFlow"
  in_image '! command -v gcc cc g++ make' || fail "the image holds a compiler"
  [ "$(docker image inspect image-classifier-web --format '{{if .Config.Healthcheck}}yes{{end}}')" = yes ] \
    || fail "the image has no HEALTHCHECK"
}

# The image alone: with the embedded database, as a user without a name, in a volume that Kubernetes has opened to a group,
# with little shared memory, one core and a half, and 512 MiB.
alone() {
  local run=(docker run --rm --network none --user 12345 --shm-size 64k --cpus 1.5 --memory 512m -e ALLOW_ANONYMOUS=1 -e REUSE_ANSWERS=0
    -v image-classifier-verify-alone:/data)
  trap 'docker rm --force image-classifier-verify-alone >/dev/null 2>&1; docker volume rm image-classifier-verify-alone >/dev/null 2>&1 || true' EXIT
  for round in first second; do
    say "A user without a name, 64 KiB of shared memory, 1.5 cores and 512 MiB: the $round start"
    docker run --rm --network none --user 0 --entrypoint sh -v image-classifier-verify-alone:/data image-classifier-web \
      -c 'chown -R 12345 /data; chmod -R g+rwX /data; find /data -type d -exec chmod g+s {} +'
    "${run[@]}" --detach --name image-classifier-verify-alone image-classifier-web >/dev/null
    for _ in $(seq 100); do
      docker exec image-classifier-verify-alone python -c "
import urllib.request as r; r.urlopen('http://127.0.0.1:8004/ready')" 2>/dev/null && break
      sleep 0.3
    done
    docker exec -i image-classifier-verify-alone python - <project/tests/containers/upload.py ||
      { docker logs image-classifier-verify-alone; fail "it does not work as a user without a name"; }
    docker exec image-classifier-verify-alone python -c "
from app.config import Settings
assert Settings().worker_threads <= 2, Settings().worker_threads"
    docker stop image-classifier-verify-alone >/dev/null
  done
}

up() {
  local file=$1; shift
  if [ ${#compose_up[@]} -gt 0 ]; then "${compose_up[@]}" "$file" "$@"
  else docker compose -f "$file" up --detach --wait --no-build "$@"; fi \
    || { docker compose -f "$file" logs; fail "compose did not come up with $file"; }
}

check() {
  look
  trap 'docker compose down --volumes >/dev/null 2>&1 || true' EXIT
  docker compose down --volumes
  say "compose up --wait"
  up docker-compose.yml
  docker compose ps
  say "An image and its prediction"
  response=$(in_web python - <"project/tests/containers/upload.py")
  echo "$response"
  id=$(awk '/^id / {print $2}' <<<"$response")
  docker compose exec -T web-db psql -U postgres -tAc 'SELECT version()' -d predictions_test
  say "compose down, and up again: the prediction and its image are still there"
  docker compose down
  up docker-compose.yml
  in_web python - "$id" <"project/tests/containers/read.py"
  docker compose down --volumes
}

prod() {
  export COMPOSE_PROJECT_NAME=image-classifier-verify-prod POSTGRES_PASSWORD=verify
  prod_compose=(docker compose -f docker-compose.prod.yml)
  trap '"${prod_compose[@]}" down --volumes >/dev/null 2>&1 || true' EXIT
  "${prod_compose[@]}" down --volumes
  say "Others are let in with a key, or where it is said that they are"
  { docker run --rm --network none image-classifier-web || true; } 2>&1 | grep "there are no API keys" ||
    fail "it starts without a key"
  export ALLOW_ANONYMOUS=1 ALLOWED_HOSTS=nginx
  say "docker-compose.prod.yml up --wait, with two workers"
  up docker-compose.prod.yml --scale worker=2
  "${prod_compose[@]}" ps
  say "Containers are confined, and the service's role is no superuser"
  for container in $("${prod_compose[@]}" ps --quiet); do
    docker exec "$container" sh -c '! touch /verify 2>/dev/null && grep -q "^NoNewPrivs:.*1" /proc/self/status' ||
      fail "a container can write to its root file system, or gain privileges"
  done
  for service in web worker nginx; do
    "${prod_compose[@]}" exec -T "$service" grep -q "^CapEff:[[:space:]]*0*$" /proc/self/status || fail "$service has capabilities"
  done
  "${prod_compose[@]}" exec -T nginx sh -c 'getent hosts web >/dev/null && ! getent hosts db' || fail "nginx reaches the database"
  superusers=$("${prod_compose[@]}" exec -T db psql -U postgres -tAc \
    "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper; SELECT count(*) FROM pg_stat_activity WHERE usename = 'classifier'")
  grep -qx postgres <<<"$superusers" && grep -qx '[1-9][0-9]*' <<<"$superusers" || fail "the service connects as a superuser: $superusers"
  say "Images through nginx, while a worker is killed and a web process restarted"
  mapfile -t workers < <("${prod_compose[@]}" ps --quiet worker)
  mapfile -t webs < <("${prod_compose[@]}" ps --quiet web)
  [ ${#workers[@]} = 2 ] && [ ${#webs[@]} = 2 ] || fail "there are not two workers and two web processes"
  docker exec -i "${webs[0]}" python - http://nginx:8080 500 <project/tests/containers/upload_many.py &
  uploading=$!
  docker kill --signal KILL "${workers[0]}" >/dev/null
  docker restart "${webs[1]}" >/dev/null
  wait $uploading || fail "not everything was classified"
  say "A third web process is found without a restart of nginx"
  up docker-compose.prod.yml --scale worker=2 --scale web=3
  docker exec -i "$COMPOSE_PROJECT_NAME-web-3" python - <project/tests/containers/reached.py
  say "compose down, and up again: the prediction and its image are still there"
  "${prod_compose[@]}" down
  up docker-compose.prod.yml --scale worker=2
  docker exec -i "$("${prod_compose[@]}" ps --quiet web | head -1)" python - 1 http://nginx:8080 \
    <project/tests/containers/read.py
  "${prod_compose[@]}" down --volumes
}

case ${1:-all} in
  build) build ;;
  check) check; say "All of it works" ;;
  alone) alone; say "All of it works" ;;
  prod) prod; say "All of it works" ;;
  all) build; check; alone; prod; say "All of it works" ;;
  *) sed -n '2,15p' "$0"; exit 2 ;;
esac
