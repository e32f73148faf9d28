#!/usr/bin/env bash
# Generates clients from docs/openapi.json, checks their types, and uses the Python one with a running service.
# Needs uv, npm and the package registries. URL: the address of the service (default: http://localhost:8004).
set -euo pipefail
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-../../../.venv/bin/python}
contract=../../docs/openapi.json
command -v npx >/dev/null || { echo "error: npx is missing: install Node.js" >&2; exit 1; }

echo "==> Python: openapi-python-client and mypy"
"$(dirname "$python")/uv" tool run openapi-python-client generate --path "$contract" --output-path "$folder/python" 2>"$folder/log" >&2 ||
  { cat "$folder/log" >&2; exit 1; }
cp use_python.py "$folder/python/"
(cd "$folder/python" && "$OLDPWD/$python" -m mypy --strict --allow-any-generics .)
PYTHONPATH="$folder/python" "$python" use_python.py "${URL:-http://localhost:8004}"

echo "==> TypeScript: openapi-typescript and tsc"
npx --yes openapi-typescript@7 "$contract" -o "$folder/schema.ts" >/dev/null
cp use_typescript.ts "$folder/"
(cd "$folder" && npx --yes -p typescript@5 tsc --noEmit --strict --target es2022 --moduleResolution bundler --module esnext use_typescript.ts)
echo "==> Both clients work"
