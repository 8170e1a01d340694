#!/bin/bash
# Exits with 0 if http://127.0.0.1:9091/readyz answers 200. For containers, which have no curl.
set -e
exec 3<>/dev/tcp/127.0.0.1/9091
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "${1:-/readyz}" >&3
read -r -t 5 _ code _ <&3
[ "$code" = 200 ]
