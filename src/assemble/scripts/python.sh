#!/bin/sh
# python.sh tree|requires: python-install.py with the foundry's own Python, which writes no byte code.
set -eu
exec python3 -B /scripts/python-install.py "$@"
