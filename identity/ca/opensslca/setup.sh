#!/bin/sh
# Makes a folder for `openssl ca` with a root of its own: setup.sh FOLDER NAME. Where the key lies in hardware, leave out genpkey and name
# the key in openssl.cnf (private_key) and below (-key).
set -eu
[ $# = 2 ] || { echo "usage: setup.sh FOLDER NAME" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
umask 077
mkdir -- "$1" # fails where an authority is
cd -- "$1"
mkdir newcerts
cp "$here/openssl.cnf" .
: >index.txt
echo 01 >crlnumber
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key
# openssl req takes days alone: 6,800 years stand for "no expiry". A device's certificate ends at 99991231235959Z, as RFC 5280 has it.
openssl req -new -x509 -config openssl.cnf -extensions root -key ca.key -sha256 -days 2500000 -subj "/CN=$2" -out ca.pem
