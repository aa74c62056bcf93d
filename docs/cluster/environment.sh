# What every process of the cluster needs, on every machine; head.sh and node.sh read it, and so does who starts a search.
#
# ARBOR_PORTS is the first of the thousand ports that Ray then uses on this machine, so that one firewall line covers them.

export RAY_AUTH_MODE=token       # without the cluster's token nobody gets in
export RAY_USAGE_STATS_ENABLED=0

# A node that is silent for 3 x (2 + 3) s is lost, and its trials go on elsewhere (Ray alone would wait a minute).
export RAY_health_check_period_ms="${RAY_health_check_period_ms:-2000}"
export RAY_health_check_timeout_ms="${RAY_health_check_timeout_ms:-3000}"
export RAY_health_check_failure_threshold="${RAY_health_check_failure_threshold:-3}"

export ARBOR_PORTS="${ARBOR_PORTS:-6379}"
# Two of the three metrics ports, which answer without the token; head.sh and node.sh put the third into the same range.
export AUTOSCALER_METRIC_PORT=$((ARBOR_PORTS + 7))
export DASHBOARD_METRIC_PORT=$((ARBOR_PORTS + 8))

# Ray's options that both kinds of node share
ARBOR_RAY_PORTS=(
    --node-manager-port=$((ARBOR_PORTS + 1))
    --object-manager-port=$((ARBOR_PORTS + 2))
    --runtime-env-agent-port=$((ARBOR_PORTS + 3))
    --dashboard-agent-grpc-port=$((ARBOR_PORTS + 4))
    --dashboard-agent-listen-port=$((ARBOR_PORTS + 5))
    --metrics-export-port=$((ARBOR_PORTS + 6))
    --min-worker-port=$((ARBOR_PORTS + 20))
    --max-worker-port=$((ARBOR_PORTS + 999))
)
