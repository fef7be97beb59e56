#!/usr/bin/env bash
# The tours of README.md on this machine's loopback, from an empty folder to retired devices, with every process killed by -9 and started
# again on the way, platform and applications with other keys once. What is checked, from what the programs print with -json: no event that a device has sent is lost, and none is
# handled twice; the same for events to the devices; no command runs twice.
#
#   examples/tour.sh [readme|machines|public]...      default: all
#
#   readme     the commands of README.md's tours 1 and 3 as they stand there, with free ports and Mosquitto as the broker
#   machines   the platform's own broker with mutual TLS; each party has a folder and a loopback address, as if it had a machine
#   public     a Mosquitto that knows nobody stands in for a public broker; 20 devices
#
# It wants Go and Mosquitto (apt-get install mosquitto). It ends with 0, or says what went wrong and keeps its folder.
set -euo pipefail
cd "$(dirname "$0")"
home=$PWD
PATH=$PATH:/usr/sbin

patience=${TOUR_PATIENCE:-120} # seconds for anything that should take a few

base=$(mktemp -d)
declare -A pids # of what runs, by name
finish() {
	local code=$?
	for name in "${!pids[@]}"; do kill -9 "${pids[$name]}" 2>/dev/null || true; done
	if [ $code = 0 ]; then
		rm -rf "$base"
	else
		echo "tour: failed; what the programs said is in $base" >&2
	fi
}
trap finish EXIT

say() { printf '%4ss  %s\n' "$SECONDS" "$*"; }
fail() {
	echo "tour: $*" >&2
	exit 1
}

# await WHAT COMMAND… waits until the command succeeds.
await() {
	local what=$1 end=$((SECONDS + patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || fail "after $patience s still waiting: $what"
		sleep 0.1
	done
}

# start NAME COMMAND… runs a program in the background. It appends to NAME.out and NAME.err, as a supervisor would.
declare -A commands
start() {
	local name=$1
	shift
	commands[$name]=$(printf '%q ' "$@")
	"$@" >>"$name.out" 2>>"$name.err" </dev/null &
	pids[$name]=$!
}

ready() { grep -c '"ready":true' "$1.out"; }

# serve NAME COMMAND… is start, until the program says that it is ready.
serve() {
	local before=0
	[ -e "$1.out" ] && before=$(ready "$1" || true)
	start "$@"
	await "$1 is ready" more_ready "$1" "$before"
}
more_ready() { [ "$(ready "$1")" -gt "$2" ]; }

# crash NAME kills a program with -9 and starts it again with the same command.
crash() {
	local name=$1
	kill -9 "${pids[$name]}"
	wait "${pids[$name]}" 2>/dev/null || true
	eval "serve $name ${commands[$name]}"
}

# field NAME FILE prints a text field of the last line of JSON that has it.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$2" | tail -n 1; }

# certify FOLDER: the party's request goes to the authority, its answer and the root come back. Files are all that is carried.
certify() {
	ca issue -dir ca -in "$1/request.pem" -out "$1.chain" 2>/dev/null
	cp ca/root.pem "$1.root"
}

# enrol FOLDER NAME PROGRAM makes a party and has it certified.
enrol() {
	"$3" init -party "$1" -id "$2" >/dev/null
	certify "$1"
	"$3" install -party "$1" -chain "$1.chain" -roots "$1.root" >/dev/null
}

# --- What is checked ---

# sent, received and commands print a line for each event or command: device, binding, number; device, binding, number; device, command.
sent() { sed -nE 's/.*"what":"sent","device":"([^"]*)","binding":"([^"]*)","seq":([0-9]+).*/\1 \2 \3/p' D-*.out; }
received() { sed -nE 's/^\{"time":"[^"]*","device":"([^"]*)","binding":"([^"]*)","seq":([0-9]+).*/\1 \2 \3/p' "$@"; }

# lost_or_twice WHAT SENT RECEIVED compares two such lists.
lost_or_twice() {
	local lost twice
	twice=$(sort "$3" | uniq -d)
	[ -z "$twice" ] || fail "$1 handled twice: $twice"
	lost=$(sort -u "$2" | comm -23 - <(sort "$3"))
	[ -z "$lost" ] || fail "$1 lost: $lost"
	say "$1: $(wc -l <"$2") sent, each handled once"
}

# A check that cannot fail is none.
(
	cd "$base"
	printf 'D b 1\nD b 2\n' >sent
	printf 'D b 1\nD b 2\nD b 3\n' >good
	printf 'D b 1\n' >lost
	printf 'D b 1\nD b 2\nD b 2\n' >twice
	(lost_or_twice test sent good) >/dev/null
	for list in lost twice; do
		if (lost_or_twice test sent "$list") >/dev/null 2>&1; then fail "the check does not see what was $list"; fi
	done
	rm sent good lost twice
)

online() { [ "$(sed -nE 's/.*"what":"(online|offline)".*/\1/p' "$1.out" | tail -n 1)" = online ]; }
count_sent() { grep -c '"what":"sent"' "$1.out" || true; }
sends_more() { [ "$(count_sent "$1")" -gt "$2" ]; }

ask() { # DEVICE TEXT…
	local device=$1
	shift
	application call -party "${owner[$device]}" -wait 60s "$device" "$@" >/dev/null
}

texts() { grep -c "\"text\":\"$2\"" "$1.events" || true; }
has_text() { [ "$(texts "$1" "$2")" -gt 0 ]; }

check() { # DEVICES
	local device
	sent >sent.txt
	received A-*.events >received.txt
	lost_or_twice "events of the devices" sent.txt received.txt
	for device in $1; do
		for text in "first message" "second message" ${moved[$device]:+welcome}; do
			await "$device has the $text" has_text "$device" "$text"
			[ "$(texts "$device" "$text")" = 1 ] || fail "$device has handled the $text twice"
		done
		[ "$(grep -c '"what":"command".*"command":"temperature"' "$device.out")" = 1 ] || fail "$device has not run a command once"
	done
	say "events to the devices: each handled once; commands: each ran once"
}

wiped() { grep -q '"what":"retired"' "$1.out"; }
is_over() { wiped "$1" || grep -q 'refused our identity' "$1.err"; }

# start_mosquitto finds a free port by trying. Without a configuration it serves loopback alone, and everybody there.
mosquitto_port=
run_mosquitto() {
	echo '{"ready":true}'
	exec mosquitto -p "$mosquitto_port"
}
listens() { (: <"/dev/tcp/127.0.0.1/$1"); }
start_mosquitto() {
	command -v mosquitto >/dev/null || fail "mosquitto is not installed: apt-get install mosquitto"
	local tries
	for tries in 1 2 3 4 5 6 7 8 9; do
		mosquitto_port=$((20000 + RANDOM % 10000))
		if listens $mosquitto_port 2>/dev/null; then continue; fi
		serve mosquitto run_mosquitto
		await "mosquitto listens" listens $mosquitto_port
		if kill -0 "${pids[mosquitto]}" 2>/dev/null; then return; fi
	done
	fail "no free port for mosquitto after $tries tries"
}

# produce N CA PLATFORM makes devices in line/units and their stickers; photo.png is that of the first one.
produced() { [ "$(find line/reports -name '*.json' | wc -l)" -ge "$1" ]; }
produce() {
	local args=(run -party factory -dir line -name D-THERMO -ca "$2" -platform "$3" -json)
	factory "${args[@]}" -n 1 >>factory.out 2>>factory.err || fail "factory: $(tail -n 3 factory.err)"
	cp line/stickers/sheet-001.png photo.png
	start factory factory "${args[@]}" -n "$1"
	await "the factory has begun" produced 2
	kill -9 "${pids[factory]}" 2>/dev/null || true
	wait "${pids[factory]}" 2>/dev/null || true
	unset 'pids[factory]'
	say "  it was killed with $(find line/reports -name '*.json' | wc -l) of $1 made"
	factory "${args[@]}" -n "$1" >>factory.out 2>>factory.err || fail "factory: $(tail -n 3 factory.err)"
}
sticker() { cat "line/stickers/$1.txt"; }

# --- The tour ---

declare -A owner moved # by device: the application that has it; that it was moved

# tour MODE DEVICES
tour() {
	local mode=$1 n=$2 dir=$base/$1 device devices app i
	mkdir "$dir"
	cd "$dir"
	owner=() moved=() commands=()
	say "== $mode: $n devices =="

	# Everybody has a loopback address, as if everybody had a machine.
	local ca=127.0.0.1 platform=127.0.0.1
	if [ "$mode" = machines ] && [ "$(uname)" = Linux ]; then ca=127.0.0.2 platform=127.0.0.3; fi

	say "the certificate authority, and who everybody is"
	ca init -dir ca -name "Tour CA" >/dev/null
	enrol platform P-SEMIO platform
	enrol alice O-ALICE platform
	enrol factory R-LINE1 factory
	enrol A-WATER A-WATER application
	enrol A-HEAT A-HEAT application
	ca grant -dir ca -id P-SEMIO -hosts "$platform,localhost" -revoke >/dev/null
	serve ca ca serve -dir ca -listen "$ca:0" -hosts "$ca,localhost" -json
	local ca_url
	ca_url=$(field url ca.out)
	commands[ca]="ca serve -dir ca -listen ${ca_url#https://} -hosts $ca,localhost -json"

	say "the platform"
	local broker=() public=() common="-party platform -ca $ca_url -operators O-ALICE -hosts $platform,localhost -crl-every 1s -json"
	if [ "$mode" = public ]; then
		start_mosquitto
		broker=(-broker "mqtt://127.0.0.1:$mosquitto_port" -public)
	fi
	serve platform platform serve $common -admin "$platform:0" -listen "$platform:0" "${broker[@]}"
	local admin url prefix
	admin=$(field admin platform.out) url=$(field broker platform.out) prefix=$(field prefix platform.out)
	[ "$mode" = public ] || broker=(-broker "$url")
	# After a crash it has to be found where it was.
	commands[platform]="platform serve $common -admin ${admin#https://}"
	if [ "$mode" = public ]; then
		commands[platform]+=" ${broker[*]}"
	else
		commands[platform]+=" -listen ${url#mqtts://}"
	fi
	broker+=(-prefix "$prefix")

	say "two applications, admitted by the platform"
	for app in A-WATER A-HEAT; do
		platform admit -platform "$admin" -party alice -in "$app/credential.pem" -out "$app.admission"
		application install -party "$app" -admission "$app.admission" >/dev/null
		serve "$app" application run -party "$app" "${broker[@]}" -events "$app.events" -json
		await "$app is online" online "$app"
	done

	say "the factory makes $n devices, and is killed once on the way"
	produce "$n" "$ca_url" "$admin"

	devices=$(ls line/units)
	for device in $devices; do
		serve "$device" device -unit "line/units/$device" "${broker[@]}" -sensor simulated -every 200ms -events "$device.events" -json
	done

	say "commissioning: the first device by a photo of its sticker, the others by its text"
	i=0
	for device in $devices; do
		app=A-WATER
		[ $((i % 2)) = 0 ] || app=A-HEAT
		owner[$device]=$app
		if [ $i = 0 ]; then
			application connect -party "$app" -wait 60s -photo photo.png >/dev/null
		else
			sticker "$device" | application connect -party "$app" -wait 60s - >/dev/null
		fi
		i=$((i + 1))
	done
	for device in $devices; do await "$device sends" sends_more "$device" 0; done

	say "kill -9 and restart of each process, while devices send and applications call and send"
	for device in $devices; do
		application send -party "${owner[$device]}" "$device" "first message" >/dev/null
	done
	for i in ca platform A-WATER A-HEAT ${mosquitto_port:+mosquitto}; do
		crash "$i"
		say "  $i was killed and is back"
	done
	for device in $devices; do crash "$device"; done
	say "  each device was killed and is back"
	for app in A-WATER A-HEAT; do
		application rekey -party "$app" -ca "$ca_url" >/dev/null
		crash "$app"
	done
	platform rekey -party platform -ca "$ca_url" >/dev/null
	crash platform
	say "  applications and platform have other keys"
	for device in $devices; do
		application send -party "${owner[$device]}" "$device" "second message" >/dev/null
		await "$device sends after its restart" sends_more "$device" "$(count_sent "$device")"
		ask "$device" temperature
	done

	say "the first two devices move to the other application"
	for device in $(head -n 2 <<<"$devices"); do
		app=A-HEAT
		[ "${owner[$device]}" = A-WATER ] || app=A-WATER
		ask "$device" every 0s
		ask "$device" flush
		application disconnect -party "${owner[$device]}" -wait 60s "$device" >/dev/null
		sticker "$device" | application connect -party "$app" -wait 60s - >/dev/null
		owner[$device]=$app moved[$device]=yes
		ask "$device" every 200ms
		application send -party "$app" "$device" "welcome" >/dev/null
	done

	say "everything comes to rest"
	for device in $devices; do
		ask "$device" every 0s
		ask "$device" flush
	done
	check "$devices"

	say "retirement"
	# shellcheck disable=SC2086
	platform retire -platform "$admin" -party alice $devices >/dev/null
	local alive=0
	for device in $devices; do
		await "$device has ended its life" is_over "$device"
		if wiped "$device"; then
			if device -unit "line/units/$device" "${broker[@]}" >after.out 2>after.err </dev/null; then fail "$device lives on"; fi
			grep -q 'has wiped itself' after.err || fail "$device does not say why it does not start: $(cat after.err)"
		else
			alive=$((alive + 1))
		fi
	done
	[ "$(platform devices -platform "$admin" -party alice | grep -c ' retired')" = "$n" ] || fail "the platform does not say that all are retired"
	say "$((n - alive)) devices have wiped themselves; $alive did not hear of it in time and are refused"

	for i in "${!pids[@]}"; do
		kill -9 "${pids[$i]}" 2>/dev/null || true
		wait "${pids[$i]}" 2>/dev/null || true
		unset "pids[$i]"
	done
}

# block NAME prints a block of commands of README.md, with other ports, another folder and the broker that is there.
block() {
	sed -n "/^\`\`\`sh $1\$/,/^\`\`\`\$/p" "$home/README.md" | sed '1d;$d' | sed \
		-e "s#/tmp/semio-tour#$base/$2#g" -e "s/:8444/:$port1/g; s/:8443/:$port2/g; s/:8883/:$port3/g" \
		-e "s#^BROKER=.*#BROKER=mqtt://127.0.0.1:$mosquitto_port#"
}

# free_port prints a port that nobody listens on now.
free_port() {
	local port
	while port=$((20000 + RANDOM % 10000)) && listens $port 2>/dev/null; do :; done
	echo $port
}

readme() {
	local port1 port2 port3 tour
	cd "$base"
	start_mosquitto
	for tour in tour1 tour3; do
		say "== README.md, $tour =="
		port1=$(free_port) port2=$(free_port) port3=$(free_port)
		mkdir "$base/$tour"
		{
			# Pasted into a terminal a command that fails stops nothing; here it does.
			echo 'set -euo pipefail; trap '"'"'kill $(jobs -p) 2>/dev/null'"'"' EXIT'
			if [ $tour = tour1 ]; then
				block tour1 $tour
			else
				block tour1 $tour | sed '/^platform serve/,$d'
				block tour3 $tour
			fi
		} >"$base/$tour/commands"
		(cd "$home" && timeout $((patience * 2)) bash "$base/$tour/commands") >"$base/$tour/out" 2>&1 </dev/null ||
			fail "the commands of README.md: $(tail -n 5 "$base/$tour/out")"
		grep -q '°C$' "$base/$tour/out" || fail "the device of README.md has not answered"
	done
	kill -9 "${pids[mosquitto]}"
	wait "${pids[mosquitto]}" 2>/dev/null || true
	unset 'pids[mosquitto]'
	mosquitto_port=
}

[ $# -gt 0 ] || set -- readme machines public
for mode; do
	case $mode in
	readme | machines | public) ;;
	*) fail "unknown tour $mode: want readme, machines or public" ;;
	esac
done
say "build"
go build -o "$base/bin/" ./ca ./factory ./platform ./device ./application
PATH=$base/bin:$PATH
for mode; do
	case $mode in
	readme) readme ;;
	machines) tour machines 3 ;;
	public) tour public 20 ;;
	esac
done
say "done: nothing lost, nothing twice"
