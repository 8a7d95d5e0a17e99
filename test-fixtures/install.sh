#!/bin/sh
# Installs servers for tests and prints the folder of each: install.sh PIECE...
#   redis valkey mysql mariadb pgbouncer   Debian packages
#   ferretdb                               PostgreSQL with DocumentDB from Debian, and FerretDB, which Go compiles
#   servers = all of Debian's, all = everything
# Needs Debian and, for ferretdb, Go; not root. Unpacks below a cache folder and changes nothing else on the machine.
# COORD_FIXTURES_CACHE is another cache folder, COORD_FIXTURES_MIRROR another Debian mirror, such as a dated snapshot.
set -eu
if [ "$(id -u)" = 0 ]; then home=/var/cache; else home=${XDG_CACHE_HOME:-$HOME/.cache}; fi
cache=${COORD_FIXTURES_CACHE:-$home/coord-fixtures}
piece=${1:?"say what to install: redis valkey mysql mariadb pgbouncer ferretdb servers all"}
debian="redis valkey mysql mariadb pgbouncer"
case $piece in
  servers) exec sh "$0" $debian ;;
  all) exec sh "$0" ferretdb $debian ;;
esac
if [ $# -gt 1 ]; then # The first, which may have to compile, goes on beside the others.
  sh "$0" "$1" & first=$!
  shift
  for one; do sh "$0" "$one"; done
  wait $first
  exit
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
case $piece in
  redis) packages=redis-server programs=usr/bin/redis-server ;;
  valkey) packages=valkey-server programs=usr/bin/valkey-server ;;
  mysql) packages=mysql-server-core programs=usr/sbin/mysqld ;;
  mariadb) packages=mariadb-server-core programs=usr/sbin/mariadbd ;;
  pgbouncer) packages=pgbouncer programs=usr/sbin/pgbouncer ;;
  ferretdb) pg=usr/lib/postgresql/18 packages=postgresql-18-documentdb programs="$pg/bin/initdb $pg/bin/postgres" ;;
  *) echo "install.sh: unknown piece $piece" >&2; exit 2 ;;
esac
# A change of this script makes new folders; checkouts with another version keep theirs.
version=$(sha256sum "$0" | cut -c1-12)
kit=$cache/$piece-$version
if [ -e "$kit/ready" ]; then echo "$kit"; exit; fi
if [ "${LOCKED-}" != "$kit" ]; then
  for tool in apt-get dpkg-deb flock $keyring; do
    command -v "$tool" > /dev/null || [ -e "$tool" ] || { echo "install.sh: $tool is not there, is this Debian?" >&2; exit 3; }
  done
  [ "$piece" != ferretdb ] || command -v go > /dev/null || { echo "install.sh: ferretdb needs Go" >&2; exit 3; }
  mkdir -p "$cache"
  LOCKED=$kit exec flock -F "$kit.lock" sh "$0" "$piece"
fi
rm -rf "$kit"
mkdir "$kit"
exec 8>&2 9>&1 > "$kit.log" 2>&1
trap '[ $? = 0 ] || { echo "install.sh $piece failed, see $kit.log:"; tail -n 5 "$kit.log"; } >&8' EXIT
go=
if [ "$piece" = ferretdb ]; then
  GOBIN=$kit CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install github.com/FerretDB/FerretDB/v2/cmd/ferretdb@v2.7.0 & go=$!
fi

# A private apt: signatures are checked, the machine is unchanged. Its lists serve all pieces; sid is what has all of them.
apt=$cache/apt-$version
refresh() {
  rm -rf "$apt"
  mkdir -p "$apt/etc/apt.conf.d" "$apt/etc/preferences.d" "$apt/lists/partial"
  mirror=${COORD_FIXTURES_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null |
    grep -oE '[a-z]+://[^ ]*/debian/?( |$)' | head -n 1)}
  echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} sid main" > "$apt/etc/sources.list"
  cat > "$apt/conf" << C
Dir::Etc "$apt/etc"; Dir::State "$apt"; Dir::State::status "$apt/status"; Dir::Cache "$apt"; Debug::NoLocking "1";
APT::Install-Recommends "0"; APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Check-Valid-Until "0";
Acquire::Retries "3"; Acquire::http::Timeout "30"; Acquire::https::Timeout "30";
C
  : > "$apt/status"
  APT_CONFIG=$apt/conf apt-get update -q
  for p in adduser debconf locales openssl-provider-legacy perl postgresql-common postgresql-client-common proj-data \
    ssl-cert tzdata $(APT_CONFIG=$apt/conf apt-cache pkgnames libgdal); do # Not needed, so declared installed.
    printf 'Package: %s\nStatus: install ok installed\nVersion: 999\nArchitecture: %s\nMulti-Arch: allowed\n\n' \
      "$p" "$(dpkg --print-architecture)"
  done > "$apt/stubs"
  mv "$apt/stubs" "$apt/status"
  touch "$apt/fresh"
}
download() {
  mkdir -p "$kit/debs/partial"
  APT_CONFIG=$apt/conf apt-get -o "Dir::Cache::archives=$kit/debs" install -qyd $packages
}
(
  flock 7
  [ -n "$(find "$apt/fresh" -mmin -600 2> /dev/null)" ] || refresh
  download || { refresh && download; } # The lists may name packages that have been replaced since.
) 7> "$cache/apt.lock"
for deb in "$kit"/debs/*.deb; do
  dpkg-deb -x "$deb" "$kit"
  basename "$deb"
done > "$kit/packages.txt"
rm -rf "$kit/debs" "$kit/usr/share/doc" "$kit/usr/share/locale" "$kit/usr/share/man"

# Launchers with the kit's own loader and libraries; initdb itself runs postgres, so names stay.
set -- "$kit"/usr/lib/*/ld-linux-*.so.*
lib=$(dirname "$1")
for f in $programs; do
  cp -L "$kit/$f" "$kit/$f.elf"
  rm "$kit/$f"
  printf '#!/bin/sh\nexec %s --argv0 %s --library-path %s %s "$@"\n' \
    "$1" "$kit/$f" "$lib:$kit/usr/lib/postgresql/18/lib" "$kit/$f.elf" > "$kit/$f"
  chmod +x "$kit/$f"
done

# Data folders to copy at a start.
mkdir "$kit/data"
as= user=
if [ "$(id -u)" = 0 ]; then user=--user=root as='setpriv --reuid 65534 --regid 65534 --clear-groups'; fi
case $piece in
  mysql)
    "$kit/usr/sbin/mysqld" --no-defaults $user --basedir="$kit/usr" --lc-messages-dir="$kit/usr/share/mysql" \
      --datadir="$kit/data/mysql" --innodb-redo-log-capacity=64M --initialize-insecure
    ;;
  mariadb)
    mkdir "$kit/data/mariadb"
    share=$kit/usr/share/mariadb
    { printf '%s\n' 'create database mysql;' 'use mysql;' 'set @auth_root_socket=null;'; cat "$share/mariadb_system_tables.sql" \
      "$share/mariadb_performance_tables.sql" "$share/mariadb_system_tables_data.sql"; } |
      "$kit/usr/sbin/mariadbd" --no-defaults $user --bootstrap --basedir="$kit/usr" --lc-messages-dir="$share" \
        --datadir="$kit/data/mariadb" --innodb-log-file-size=16M
    ;;
  ferretdb) # PostgreSQL refuses root.
    [ -z "$as" ] || chown 65534:65534 "$kit/data"
    ln -s postgis-3.control "$kit/usr/share/postgresql/18/extension/postgis.control"
    $as "$kit/$pg/bin/initdb" -D "$kit/data/documentdb" -U postgres -A trust -E UTF8 --locale=C --no-sync --wal-segsize=1
    echo 'create extension documentdb cascade' |
      $as "$kit/$pg/bin/postgres" --single -D "$kit/data/documentdb" -c cron.database_name=postgres \
        -c shared_preload_libraries=pg_cron,pg_documentdb_core,pg_documentdb postgres
    wait $go
    ;;
esac
touch "$kit/ready"
echo "$kit" >&9
