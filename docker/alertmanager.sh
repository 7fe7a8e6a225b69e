#!/bin/sh
# Starts Alertmanager, whose settings can name no variable: alerts are posted to ALERT_WEBHOOK, and only shown without it.
set -eu
umask 077
case "$ALERT_WEBHOOK" in
"") receiver='{"name": "operators"}' ;;
*[\"\\]*) echo "ALERT_WEBHOOK is not an address: write it as https://name/path" >&2; exit 1 ;;
*) receiver='{"name": "operators", "webhook_configs": [{"url": "'"$ALERT_WEBHOOK"'", "send_resolved": true}]}' ;;
esac
cat >/alertmanager/settings.yml <<END
{"route": {"receiver": "operators", "group_by": ["alertname", "instance"]}, "receivers": [$receiver]}
END
unset ALERT_WEBHOOK
exec /bin/alertmanager --config.file=/alertmanager/settings.yml --storage.path=/alertmanager --cluster.listen-address=
