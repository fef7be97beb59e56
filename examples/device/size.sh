#!/usr/bin/env bash
# How large the device's program is: built static and stripped for the processors of small Linux devices, it prints README.md's table.
# It fails if the one for 32-bit ARM is above 7 MB (7,000,000 bytes).
set -euo pipefail
cd "$(dirname "$0")"

limit=7000000
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo '| GOOS/GOARCH | bytes |'
echo '|---|---|'
for target in arm,GOARM=7 arm64 riscv64 mipsle,GOMIPS=softfloat; do
	arch=${target%%,*}
	more=${target#"$arch"}
	env GOOS=linux GOARCH="$arch" ${more:+"${more#,}"} CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/$arch" .
	size=$(wc -c <"$out/$arch")
	printf '| linux/%s%s | %s |\n' "$arch" "${more:+ (${more#,})}" "$(sed -E ':a;s/^([0-9]+)([0-9]{3})/\1,\2/;ta' <<<"$size")"
	if [ "$arch" = arm ] && [ "$size" -gt $limit ]; then
		echo "size.sh: the program for linux/arm has $size bytes, at most $limit are wanted: go tool nm -size -sort size shows what is in it" >&2
		exit 1
	fi
done
