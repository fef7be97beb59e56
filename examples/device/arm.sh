#!/usr/bin/env bash
# The device's program for 32-bit ARM at work: everybody else runs on this machine's processor, the device under QEMU's user-mode
# emulation. A factory makes it, an application commissions it by its sticker over the platform's broker with mutual TLS, reads a
# temperature and calls it; then it is killed, and sends the next one after its restart.
#
# It wants Go and qemu-arm (apt-get install qemu-user), takes some seconds after the build, and ends with 0, or says what went wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

qemu=$(command -v qemu-arm || command -v qemu-arm-static) || {
	echo "arm.sh: qemu-arm is not installed: apt-get install qemu-user" >&2
	exit 1
}
patience=${PATIENCE:-120} # seconds for anything that should take a few

dir=$(mktemp -d)
declare -A pids
finish() {
	local code=$?
	for name in "${!pids[@]}"; do
		kill -9 "${pids[$name]}" 2>/dev/null || true
		wait "${pids[$name]}" 2>/dev/null || true
	done
	if [ $code = 0 ]; then
		rm -rf "$dir"
	else
		tail -n 5 "$dir"/*.err >&2 || true
		echo "arm.sh: failed; what the programs said is in $dir" >&2
	fi
}
trap finish EXIT
fail() {
	echo "arm.sh: $*" >&2
	exit 1
}
say() { printf '%4ss  %s\n' "$SECONDS" "$*"; }

await() { # WHAT COMMAND…
	local what=$1 end=$((SECONDS + patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "after $patience s still waiting: $what"
		sleep 0.1
	done
}
start() { # NAME COMMAND…
	local name=$1
	shift
	"$@" >>"$name.out" 2>>"$name.err" </dev/null &
	pids[$name]=$!
}
serve() { # NAME COMMAND…, until it is ready
	start "$@"
	await "$1 is ready" grep -q '"ready":true' "$1.out"
}
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$2" | tail -n 1; }
enrol() { # FOLDER NAME PROGRAM
	"$3" init -party "$1" -id "$2" >/dev/null
	ca issue -dir ca -in "$1/request.pem" -out "$1.chain" 2>/dev/null
	"$3" install -party "$1" -chain "$1.chain" -roots ca/root.pem >/dev/null
}

say "build"
mkdir "$dir/bin"
go build -o "$dir/bin/" ./ca ./platform ./factory ./application
GOOS=linux GOARCH=arm GOARM=7 CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$dir/bin/device-arm" ./device
PATH=$dir/bin:$PATH
cd "$dir"

say "authority, platform with its broker, application"
ca init -dir ca -name "ARM CA" >/dev/null
enrol platform P-SEMIO platform
enrol alice O-ALICE platform
enrol factory R-LINE1 factory
enrol water A-WATER application
ca grant -dir ca -id P-SEMIO -hosts 127.0.0.1 -revoke >/dev/null
serve ca ca serve -dir ca -listen 127.0.0.1:0 -hosts 127.0.0.1 -json
serve platform platform serve -party platform -ca "$(field url ca.out)" -operators O-ALICE -hosts 127.0.0.1 -admin 127.0.0.1:0 -listen 127.0.0.1:0 -json
admin=$(field admin platform.out) broker=$(field broker platform.out)
platform admit -platform "$admin" -party alice -in water/credential.pem -out water.admission
application install -party water -admission water.admission >/dev/null
serve water application run -party water -broker "$broker" -events water.events -json

say "a device: made by the factory, run by $(basename "$qemu") $("$qemu" --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')"
factory run -party factory -dir line -name D-ARM -n 1 -ca "$(field url ca.out)" -platform "$admin" -json >factory.out 2>factory.err
device=$(ls line/units)
run_device() { start device "$qemu" "$dir/bin/device-arm" -unit "line/units/$device" -broker "$broker" -sensor simulated -every 1s -json; }
run_device

say "commissioning by its sticker, a temperature, a command"
application connect -party water -wait "${patience}s" - <"line/stickers/$device.txt" >/dev/null
temperatures() { grep -c "\"device\":\"$device\"" water.events || true; }
more() { [ "$(temperatures)" -gt "$1" ]; }
await "a temperature arrives" more 0
application call -party water -wait "${patience}s" "$device" temperature

say "killed and started again"
kill -9 "${pids[device]}"
wait "${pids[device]}" 2>/dev/null || true
before=$(temperatures)
run_device
await "a temperature arrives after the restart" more "$before"
tail -n 1 water.events
say "done"
