#!/usr/bin/env bash
# Generates random secrets for docker-compose.yml. Existing secrets are kept.
#
#   scripts/compose-secrets.sh            into deploy/compose/secrets
#   scripts/compose-secrets.sh FOLDER     elsewhere
#
# Compose mounts the files with their permissions, and each container reads them as a different user. So the files are
# readable by all users, and the folder is accessible only to its owner.
set -euo pipefail
folder=${1:-$(dirname "$0")/../deploy/compose/secrets}

umask 077
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

# 32 random bytes in hexadecimal digits, which need no encoding in a URL.
random() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

# put NAME VALUE: writes a file atomically.
put() {
  printf '%s' "$2" >"$1.new"
  chmod 0444 "$1.new"
  mv -f "$1.new" "$1"
}

for name in postgres_owner_password postgres_password redis_password idempotency_secret auth_secret grafana_password; do
  [ -s "$name" ] && continue
  put "$name" "$(random)"
  echo "made $name"
done

# These are derived from the ones above.
put migrate_database_url "postgres://signup_owner:$(cat postgres_owner_password)@postgres/signup"
put database_url "postgres://signup:$(cat postgres_password)@postgres/signup"
put redis_url "redis://signup:$(cat redis_password)@redis"
# Without a password, clients may only ping Redis.
put redis_users "user default on nopass resetkeys resetchannels -@all +ping
user signup on >$(cat redis_password) ~signup:* resetchannels -@all +set +get +del +eval +ping +unwatch +select
"
