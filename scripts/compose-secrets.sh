#!/usr/bin/env bash
# Makes the secrets of docker-compose.yml, at random. A secret that is there already is kept.
#
#   scripts/compose-secrets.sh            into deploy/compose/secrets
#   scripts/compose-secrets.sh FOLDER     elsewhere
#
# Compose mounts the files as they are, and each container reads them as a user of its own. So everybody may
# read the files, and only their owner may enter the folder.
set -euo pipefail
folder=${1:-$(dirname "$0")/../deploy/compose/secrets}

umask 077
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

# 32 random bytes in hexadecimal digits: these stand in a URL as they are.
random() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

# put NAME VALUE: never half a file.
put() {
  printf '%s' "$2" >"$1.new"
  chmod 0444 "$1.new"
  mv -f "$1.new" "$1"
}

for name in postgres_owner_password postgres_password redis_password idempotency_secret grafana_password; do
  [ -s "$name" ] && continue
  put "$name" "$(random)"
  echo "made $name"
done

# These follow from the ones above.
put migrate_database_url "postgres://signup_owner:$(cat postgres_owner_password)@postgres/signup"
put database_url "postgres://signup:$(cat postgres_password)@postgres/signup"
put redis_url "redis://signup:$(cat redis_password)@redis"
# Without a password, one may ask whether Redis answers, and nothing else.
put redis_users "user default on nopass resetkeys resetchannels -@all +ping
user signup on >$(cat redis_password) ~signup:* resetchannels -@all +set +get +del +eval +ping +unwatch +select
"
