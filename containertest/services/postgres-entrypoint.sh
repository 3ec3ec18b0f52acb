# Stands in for the entry point of the official PostgreSQL images, `docker-entrypoint.sh`, whose functions it uses
# as the image's documentation allows. It leaves out the temporary server, which takes half as long as initdb, where
# that server would have nothing to do. An image whose entry point does anything else is left to its own.
#
# Run as: sh -c 'eval "$0"' "$(cat this)" ARGUMENTS, so that no file need be put into the container.
#
#   --only-initialise FILE: make the data in $PGDATA, with the password in FILE, which is removed, and end; with
#   status 3 if the image does not allow that. Made in /containertest/data, they are found there by later containers.

prepared=/containertest/data
if [ "${1-}" != --only-initialise ] && [ -s $prepared/PG_VERSION ]; then
    # Out of the image's layers into memory, where a database is cloned in a tenth of the time.
    cp -a $prepared "$PGDATA"
    user=gosu
    command -v gosu > /dev/null || user=su-exec
    # A server that is told to log much logs its environment.
    unset POSTGRES_PASSWORD
    exec "$user" postgres postgres "$@"
fi

# The official images have bash, but who knows what else calls its entry point so.
command -v bash > /dev/null || exec docker-entrypoint.sh "$@"
[ -n "${BASH_VERSION:-}" ] || exec bash -c 'eval "$0"' "$0" "$@"

only_initialise=
if [ "${1-}" = --only-initialise ]; then
    only_initialise=1
    if [ -n "$2" ]; then
        POSTGRES_PASSWORD=$(< "$2") && rm "$2" || exit 3
        export POSTGRES_PASSWORD
    fi
    shift 2
fi

plainly() {
    # An unknown entry point can't be told to end when the data are made.
    [ -z "$only_initialise" ] || exit 3
    exec docker-entrypoint.sh "$@"
}

# An entry point that is not made for being sourced runs here as it would have run without us.
image=$(command -v docker-entrypoint.sh)
[ -z "$only_initialise" ] || grep -q _is_sourced "$image" || exit 3
# shellcheck disable=SC1090 # the image's
source "$image"

main=$(declare -f _main | tr -d ' \n') || :
first='docker_setup_env;docker_create_db_directories;if["$(id-u)"='"'0'"'];then'
then='docker_temp_server_start"$@";docker_setup_db;docker_process_init_files/docker-entrypoint-initdb.d/*;docker_temp_'
if [[ $main != *"$first"exec@(gosu|su-exec)'postgres"$BASH_SOURCE""$@";fi;'*"$then"server_stop\;* ]]; then
    plainly "$@"
fi

docker_setup_env
if compgen -G '/docker-entrypoint-initdb.d/*' > /dev/null || [ "$POSTGRES_DB" != postgres ]; then
    plainly "$@"
fi
if [ "$(id -u)" = 0 ]; then
    docker_create_db_directories
    user=gosu
    command -v gosu > /dev/null || user=su-exec
    exec "$user" postgres bash -c 'eval "$0"' "$0" ${only_initialise:+--only-initialise ''} "$@"
fi

docker_temp_server_start() { :; }
docker_setup_db() { :; }
docker_process_init_files() { :; }
docker_temp_server_stop() {
    [ -z "$only_initialise" ] || exit 0
    unset POSTGRES_PASSWORD # as above
}
_main "$@"
