#!/bin/bash
# Adds this machine to a running Ray cluster:
#
#   bash docs/cluster/node.sh HEAD:6379 ADDRESS [OPTION OF RAY START ...]
#
# HEAD:6379 is where the head is, ADDRESS this machine's IP address in the cluster's network. The head's token must lie in
# ~/.ray/auth_token (or where RAY_AUTH_TOKEN_PATH says). --block as for head.sh.

set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/environment.sh"
head="${1:?HEAD:6379, as in: bash docs/cluster/node.sh 10.0.0.1:6379 10.0.0.2}"
address="${2:?ADDRESS, the IP address of this machine, as in: bash docs/cluster/node.sh 10.0.0.1:6379 10.0.0.2}"
shift 2

token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "$token" ]; then
    echo "Error: the cluster's token is not in $token; copy it from the head (scp -p HEAD:.ray/auth_token ~/.ray/)." >&2
    exit 2
fi

exec ray start --address="$head" --node-ip-address="$address" "${ARBOR_RAY_PORTS[@]}" "$@"
