#!/bin/bash
# Starts the head of a Ray cluster on this machine:
#
#   bash docs/cluster/head.sh ADDRESS [OPTION OF RAY START ...]
#
# ADDRESS is this machine's IP address in the cluster's network. With --block Ray runs in the foreground, and Ctrl-C ends
# it and nothing else; `ray stop` would end every Ray that you have on this machine.

set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/environment.sh"
address="${1:?ADDRESS, the IP address of this machine, as in: bash docs/cluster/head.sh 10.0.0.1}"
shift

# The token that lets in: made once, for your eyes alone. The other machines need the same file.
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "$token" ]; then
    mkdir -p "$(dirname "$token")"
    (umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$token")
    echo "Made the token $token; copy it to the other machines: scp -p $token OTHER:.ray/auth_token"
fi

exec ray start --head --node-ip-address="$address" --port="$ARBOR_PORTS" "${ARBOR_RAY_PORTS[@]}" \
    --ray-client-server-port=$((ARBOR_PORTS + 9)) --dashboard-host=127.0.0.1 --dashboard-port=$((ARBOR_PORTS + 10)) "$@"
